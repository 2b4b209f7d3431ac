"""A survey asks every endpoint, and goes on with those that leave until they are gone."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from services.common.peer.addresses import Address
from services.common.peer.endpoints import Endpoint, Endpoints
from services.common.peer.exchange import (
    ConnectionFailed,
    NotConnected,
    OutOfFiles,
    Request,
    Response,
)
from services.common.peer.survey import Survey

pytestmark = pytest.mark.anyio


def place(number: int, *, is_fallback: bool = False) -> Address:
    return Address(f"10.0.0.{number}", 80, "inference", is_fallback=is_fallback)


@dataclass
class Network:
    """Endpoints that respond, unless an error is set for their address."""

    errors: dict[str, Exception] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    endpoints: Endpoints = field(default_factory=lambda: Endpoints(lambda: 0.0))

    async def exchange(self, endpoint: Endpoint, request: Request, timeout_s: float) -> Response:
        assert timeout_s == 1.0
        self.asked.append((endpoint.address.ip, request.target))
        if error := self.errors.get(endpoint.address.ip):
            raise error
        return Response(200, {}, b"here")


async def test_every_answer_is_one_of_three_kinds() -> None:
    network = Network(
        {
            "10.0.0.2": NotConnected("refused"),
            "10.0.0.3": TimeoutError(),
            "10.0.0.4": ConnectionFailed("ended"),
            # That is this process's fault.
            "10.0.0.5": OutOfFiles("too many"),
        }
    )
    network.endpoints.update(place(number) for number in range(1, 6))

    answers = await Survey(network).ask("/x", 1.0)

    found = {one.address.ip[-1]: (one.response is not None, one.refused) for one in answers}
    assert found == {
        "1": (True, False),
        "2": (False, True),
        "3": (False, False),
        "4": (False, False),
        "5": (False, False),
    }
    assert network.endpoints.count("serving") == 5


async def test_an_address_of_a_fallback_is_asked_once() -> None:
    network = Network()
    network.endpoints.update([place(1, is_fallback=True), place(1), place(2, is_fallback=True)])

    await Survey(network).ask("/x", 1.0)

    assert sorted(network.asked) == [("10.0.0.1", "/x"), ("10.0.0.2", "/x")]


async def test_an_endpoint_that_dns_has_left_out_is_asked_until_it_is_gone() -> None:
    network = Network()
    survey = Survey(network)
    network.endpoints.update([place(1), place(2)])
    await survey.ask("/x", 1.0)
    network.endpoints.update([place(1)])

    assert {one.address.ip for one in await survey.ask("/x", 1.0)} == {"10.0.0.1", "10.0.0.2"}
    network.errors["10.0.0.2"] = NotConnected("refused")
    last = {one.address.ip: one.refused for one in await survey.ask("/x", 1.0)}
    assert last == {"10.0.0.1": False, "10.0.0.2": True}
    assert [one.address.ip for one in await survey.ask("/x", 1.0)] == ["10.0.0.1"]


async def test_of_those_that_answer_only_some_are_asked_for_more() -> None:
    """All of them as long as none has answered."""
    network = Network({"10.0.0.1": NotConnected("refused")})
    network.endpoints.update(place(number) for number in range(1, 6))
    survey = Survey(network)
    await survey.ask("/all", 1.0, most=2, path_of_others="/self")
    assert {path for _, path in network.asked} == {"/all"}
    network.asked.clear()

    await survey.ask("/all", 1.0, most=2, path_of_others="/self")

    paths = [path for _, path in network.asked]
    assert (paths.count("/all"), paths.count("/self")) == (2, 3)
    assert ("10.0.0.1", "/self") in network.asked
