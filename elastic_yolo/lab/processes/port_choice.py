"""The ports of a stack on this machine: web's is required, the others are the first free ones."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from elastic_yolo.doctor.machine import find_holder
from elastic_yolo.lab.processes.stack import (
    LOOPBACK,
    StackError,
    StackPorts,
    random_port,
    reserve_port,
)
from elastic_yolo.tiers import PORTS


@contextmanager
def choose_ports(
    web: int, host: str, copies: int, usual: Mapping[str, int] = PORTS
) -> Iterator[StackPorts]:
    """Yield free ports: `web` for web (0 for any), where possible the usual ones for the rest.

    `host` is the address that web listens on; all others listen on loopback. Inference processes
    after the first prefer consecutive ports, and the ports for gRPC follow them. Until the context
    ends, no other process gets these ports from here: two stacks that start at the same moment
    would choose the same ones, and each would take the other's services for its own. Raises
    StackError if web cannot listen.
    """
    with ExitStack() as reservations:

        def reserve(port: int, address: str) -> bool:
            if _bind(port, address) is not None or (held := reserve_port(port)) is None:
                return False
            reservations.enter_context(held)
            return True

        def choose(preferred: int) -> int:
            port = preferred
            while not reserve(port, LOOPBACK):
                port = random_port()
            return port

        web_port = web or random_port()
        _require(web_port, host)
        if not reserve(web_port, host):
            raise StackError(
                f"port {web_port} is in use by a serve that starts; choose another one with --port"
            )
        first = usual["inference"]
        inference = tuple(choose(first + number) for number in range(copies))
        grpc = tuple(choose(first + copies + number) for number in range(copies))
        yield StackPorts(web_port, choose(usual["preprocess"]), inference, grpc)


def _require(port: int, host: str) -> None:
    """Check that web can listen on a port; raises StackError with the reason."""
    error = _bind(port, host)
    if error is None:
        return
    match error.errno:
        case errno.EADDRINUSE:
            raise StackError(
                f"port {port} is in use by {find_holder(port)}; choose another one with --port"
            )
        case errno.EACCES:
            raise StackError(
                f"port {port} is reserved for privileged users; choose one from 1024 with --port"
            )
        case errno.EADDRNOTAVAIL:
            raise StackError(f"{host} is no address of this machine; see --host")
    raise StackError(f"cannot listen on {host}, port {port}: {os.strerror(error.errno or 0)}")


def _bind(port: int, host: str) -> OSError | None:
    """Return why a process cannot listen on the port, or None; raises StackError for a bad host."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError):
        raise StackError(f"{host} is neither an address nor a known name; see --host") from None
    for family, kind, protocol, _, address in found:
        try:
            with socket.socket(family, kind, protocol) as probe:
                # As the services do: a connection in TIME_WAIT does not block the port.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(address)
        except OSError as error:
            return error
    return None
