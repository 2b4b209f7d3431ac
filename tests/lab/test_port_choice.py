"""Ports of a stack: web's as required, the usual ones for the other services where free."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack, suppress

import pytest

from elastic_yolo.lab.processes.port_choice import choose_ports
from elastic_yolo.lab.processes.stack import (
    LOOPBACK,
    StackError,
    StackPorts,
    random_port,
    reserve_port,
)


def usual_ports() -> dict[str, int]:
    """Ports that nobody uses or has reserved; so are the three after inference's."""
    while True:
        first = random_port()
        if all(is_free(port) for port in range(first, first + 4)):
            return {"preprocess": random_port(), "inference": first}


def is_free(port: int) -> bool:
    """Return whether nobody listens on a port, and no other stack has reserved it."""
    reserved = reserve_port(port)
    if reserved is None:
        return False
    with reserved, suppress(OSError), socket.create_server((LOOPBACK, port)):
        return True
    return False


def test_the_usual_ports_are_preferred() -> None:
    web, usual = random_port(), usual_ports()

    with choose_ports(web, LOOPBACK, 2, usual) as chosen:
        pass

    first = usual["inference"]
    assert chosen == StackPorts(
        web, usual["preprocess"], (first, first + 1), (first + 2, first + 3)
    )


def test_other_ports_are_chosen_where_the_usual_ones_are_taken() -> None:
    web, usual = random_port(), usual_ports()
    taken = {usual["preprocess"], usual["inference"], usual["inference"] + 1}
    with ExitStack() as listeners:
        for port in taken:
            listeners.enter_context(socket.create_server((LOOPBACK, port)))
        with choose_ports(web, LOOPBACK, 2, usual) as chosen:
            pass

    ports = {chosen.web, chosen.preprocess, *chosen.inference, *chosen.grpc}
    assert chosen.web == web
    assert len(ports) == 6
    assert not ports & taken


def test_webs_port_is_not_given_to_another_service() -> None:
    usual = usual_ports()

    with choose_ports(usual["preprocess"], LOOPBACK, 1, usual) as chosen:
        pass

    assert chosen.web == usual["preprocess"]
    assert chosen.preprocess != chosen.web


@pytest.mark.parametrize(("listens", "host"), [("127.0.0.1", "0.0.0.0"), ("0.0.0.0", "127.0.0.1")])
def test_a_port_of_any_address_counts_as_taken(listens: str, host: str) -> None:
    with socket.create_server((listens, 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(StackError, match=rf"^port {port} is in use by .*process {os.getpid()}"):
            choose_ports(port, host, copies=1).__enter__()


def test_stacks_that_start_at_the_same_moment_get_different_ports() -> None:
    """Nothing listens yet when the second one chooses."""
    web, usual = random_port(), usual_ports()
    with (
        choose_ports(web, LOOPBACK, 1, usual) as one,
        choose_ports(0, LOOPBACK, 1, usual) as other,
    ):
        assert not {one.web, one.preprocess, *one.inference, *one.grpc} & {
            other.web, other.preprocess, *other.inference, *other.grpc,
        }  # fmt: skip
        with pytest.raises(StackError, match=f"^port {web} is in use by a serve that starts"):
            choose_ports(web, LOOPBACK, 1, usual).__enter__()

    with choose_ports(web, LOOPBACK, 1, usual) as again:
        assert again == one
