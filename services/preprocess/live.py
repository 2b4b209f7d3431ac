"""`GET /live/tree`: this process and the inference processes behind it, for the live view."""

from __future__ import annotations

import asyncio
import time

from fastapi import APIRouter

from services.common.core.live import (
    SELF_PATH,
    TREE_PATH,
    EndpointAnswer,
    LiveProcess,
    Tree,
    read_processes,
)
from services.common.request.body import JsonResponse
from services.preprocess.routing.router import Router

# Half of the time that web waits for the tree.
_TIMEOUT_S = 0.25
# Each web asks twice a second; all of them share the answers of this time.
_FRESH_S = 0.2


class Behind:
    """The inference processes; they are asked when somebody wants to know."""

    def __init__(self, router: Router) -> None:
        """Ask the endpoints of the router's back ends."""
        self._router = router
        self._asking: asyncio.Task[list[EndpointAnswer]] | None = None
        self._asked_at = 0.0

    async def ask(self) -> list[EndpointAnswer]:
        """Return an answer of each address, at most 0.2 s old."""
        now = time.monotonic()
        if self._asking is None or (self._asking.done() and now - self._asked_at > _FRESH_S):
            self._asked_at = now
            self._asking = asyncio.create_task(self._ask_all())
        # A caller that hangs up must not take the answers from others.
        return await asyncio.shield(self._asking)

    async def _ask_all(self) -> list[EndpointAnswer]:
        answers = await asyncio.gather(
            *(peer.survey.ask(SELF_PATH, _TIMEOUT_S) for peer in self._router.inference_peers)
        )
        return [one for of_peer in answers for one in read_processes(of_peer)]


def build_tree_router(process: LiveProcess, behind: Behind) -> APIRouter:
    """Return the route."""
    router = APIRouter(include_in_schema=False)

    @router.get(TREE_PATH)
    async def show_tree() -> JsonResponse:
        tree = Tree(process=process.snapshot(), behind=await behind.ask())
        return JsonResponse(tree.model_dump())

    return router
