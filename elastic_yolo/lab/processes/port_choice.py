"""The ports of a stack on this machine: web's is required, the others are the first free ones."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping

from elastic_yolo.doctor.machine import find_holder
from elastic_yolo.lab.processes.stack import LOOPBACK, StackError, StackPorts, free_port
from elastic_yolo.tiers import PORTS


def choose_ports(web: int, host: str, copies: int, usual: Mapping[str, int] = PORTS) -> StackPorts:
    """Return free ports: `web` for web (0 for any), where possible the usual ones for the rest.

    `host` is the address that web listens on; all others listen on loopback. Inference processes
    after the first prefer consecutive ports. Raises StackError if web cannot listen.
    """
    web_port = _require(web or free_port(), host)
    chosen = {web_port}

    def choose(preferred: int) -> int:
        free = preferred not in chosen and _bind(preferred, LOOPBACK) is None
        port = preferred if free else _other_port(chosen)
        chosen.add(port)
        return port

    first = usual["inference"]
    inference = tuple(choose(first + number) for number in range(copies))
    return StackPorts(web_port, choose(usual["preprocess"]), inference)


def _other_port(chosen: set[int]) -> int:
    while (port := free_port()) in chosen:
        pass
    return port


def _require(port: int, host: str) -> int:
    """Return `port` if web can listen on it; raises StackError with the reason."""
    error = _bind(port, host)
    if error is None:
        return port
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
