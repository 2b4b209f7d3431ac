"""What one poll of all services has found."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from pydantic import ValidationError

from services.common.core.live import (
    SELF_PATH,
    TREE_PATH,
    EndpointAnswer,
    LiveProcess,
    ProcessSnapshot,
    Tree,
    read_processes,
)
from services.common.peer.survey import Answer, Survey

# Twice what preprocess gives inference.
_TIMEOUT_S = 0.5
# Of preprocess: each knows all inference processes, so one is enough. The second is for when the
# first stops in this moment.
_TREES = 2


Place = tuple[str, str]
"""A service and an address of it."""


@dataclass(frozen=True)
class Poll:
    """The processes that answered, and the addresses that did not."""

    processes: dict[str, ProcessSnapshot] = field(default_factory=dict)
    """By their ids."""
    addresses: dict[Place, str | None] = field(default_factory=dict)
    """The id of the process at each; None if nothing listens there.

    An address from which no answer came in time is missing.
    """

    def places(self) -> dict[str, set[Place]]:
        """Return the places of each process, by its id."""
        found: dict[str, set[Place]] = {}
        for place, key in self.addresses.items():
            if key is not None:
                found.setdefault(key, set()).add(place)
        return found


class Services:
    """All processes that can be asked from here: this one, other webs, preprocess and inference."""

    def __init__(self, own: LiveProcess, preprocess: Survey, webs: Survey | None) -> None:
        """Ask the addresses that each survey knows."""
        self._own = own
        self._preprocess = preprocess
        self._webs = webs

    async def look(self, credential: Mapping[str, str]) -> Poll:
        """Ask all of them; other webs require a credential, which a viewer has presented."""
        answers, webs = await asyncio.gather(
            self._preprocess.ask(TREE_PATH, _TIMEOUT_S, most=_TREES, path_of_others=SELF_PATH),
            self._ask_webs(credential),
        )
        return merge(self._own.snapshot(), webs, answers)

    async def _ask_webs(self, credential: Mapping[str, str]) -> list[Answer]:
        if self._webs is None:
            return []
        return await self._webs.ask(SELF_PATH, _TIMEOUT_S, headers=credential)


def merge(own: ProcessSnapshot, webs: Iterable[Answer], preprocess: Iterable[Answer]) -> Poll:
    """Return one poll of the answers; a process that several have seen is in it once."""
    processes = {own.id: own}
    addresses: dict[Place, str | None] = {}

    def add(service: str, found: EndpointAnswer) -> None:
        place = service, found.address
        if found.process is not None:
            processes.setdefault(found.process.id, found.process)
            addresses[place] = found.process.id
        elif found.refused:
            # Of two that asked at the same time, one may have been there before the end.
            addresses[place] = None

    for web in read_processes(webs):
        add("web", web)
    for answer in preprocess:
        tree = _read_tree(answer)
        if tree is None:
            for one in read_processes([answer]):
                add("preprocess", one)
            continue
        add("preprocess", EndpointAnswer(address=str(answer.address), process=tree.process))
        for one in tree.behind:
            add("inference", one)
    return Poll(processes, addresses)


def _read_tree(answer: Answer) -> Tree | None:
    """Return the tree that an address answered; None if it answered anything else."""
    if answer.response is None or answer.response.status_code != HTTPStatus.OK:
        return None
    try:
        return Tree.model_validate_json(answer.response.content)
    except ValidationError:
        return None
