"""Asks every endpoint of a peer the same question, for what concerns each process by itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from services.common.peer.addresses import Address
from services.common.peer.endpoints import Endpoint, Endpoints
from services.common.peer.exchange import (
    ConnectionFailed,
    NotConnected,
    OutOfFiles,
    Request,
    Response,
)

# How long an address is asked that DNS has left out: as long as the grace period of a pod.
_LEAVING_S = 40.0
# Of one peer, asked in one go.
_MOST_ASKED = 200


class Asked(Protocol):
    """What a survey needs of a peer's discovery."""

    endpoints: Endpoints

    async def exchange(self, endpoint: Endpoint, request: Request, timeout_s: float) -> Response:
        """Send a request to an endpoint; raises ConnectionFailed and TimeoutError."""


@dataclass(frozen=True)
class Answer:
    """What one address answered."""

    address: Address
    response: Response | None
    """None if there was none in time."""
    refused: bool = False
    """Whether nothing listens there."""


class Survey:
    """Asks all known endpoints at the same time, and those that have left until they are gone.

    Addresses of a fallback that are those of known endpoints are asked once. The answers change
    nothing in what the peer thinks of its endpoints.
    """

    def __init__(self, discovery: Asked) -> None:
        """Ask the endpoints of one peer."""
        self._discovery = discovery
        self._seen: dict[Address, float] = {}
        """Addresses that have answered, with the moment at which they were last known."""
        self._answering: set[Address] = set()

    async def ask(
        self,
        path: str,
        timeout_s: float,
        *,
        headers: Mapping[str, str] | None = None,
        most: int = _MOST_ASKED,
        path_of_others: str | None = None,
    ) -> list[Answer]:
        """Return an answer of each address; none takes longer than `timeout_s` seconds.

        At most `most` of those that answered the last time get `path`, and others
        `path_of_others`. All get `path` if none has answered yet.
        """
        addresses = self._choose()[:_MOST_ASKED]
        leading = [one for one in addresses if one in self._answering][:most] or addresses
        answers = await asyncio.gather(
            *(
                self._ask_one(
                    address,
                    Request(
                        "GET",
                        path if path_of_others is None or address in leading else path_of_others,
                        headers or {},
                    ),
                    timeout_s,
                )
                for address in addresses
            )
        )
        self._answering = {one.address for one in answers if one.response is not None}
        for answer in answers:
            if answer.response is not None:
                self._seen.setdefault(answer.address, time.monotonic())
            elif answer.refused:
                self._seen.pop(answer.address, None)
        return answers

    def _choose(self) -> list[Address]:
        known = sorted(self._discovery.endpoints.known, key=lambda one: one.is_fallback)
        now = time.monotonic()
        for address in known:
            if address in self._seen:
                self._seen[address] = now
        self._seen = {one: at for one, at in self._seen.items() if now - at < _LEAVING_S}
        by_place: dict[tuple[str, int], Address] = {}
        for address in (*known, *self._seen):
            by_place.setdefault((address.ip, address.port), address)
        return list(by_place.values())

    async def _ask_one(self, address: Address, request: Request, timeout_s: float) -> Answer:
        endpoint = self._discovery.endpoints.known.get(address) or Endpoint(address)
        try:
            return Answer(address, await self._discovery.exchange(endpoint, request, timeout_s))
        except NotConnected as error:
            return Answer(address, None, refused=not isinstance(error, OutOfFiles))
        except (ConnectionFailed, TimeoutError):
            return Answer(address, None)
