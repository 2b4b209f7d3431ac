"""What Connection and DrainingServer use of uvicorn without its documentation's promise."""

from __future__ import annotations

import inspect
import tomllib
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import httptools
import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import Server, ServerState

from elastic_yolo.lab.processes.stack import ROOT
from services.common.core.connection import Connection
from services.common.core.server import DrainingServer

METHODS = {
    "__init__": ["self", "config", "server_state", "app_state", "_loop"],
    "connection_made": ["self", "transport"],
    "connection_lost": ["self", "exc"],
    "data_received": ["self", "data"],
    "pause_writing": ["self"],
    "resume_writing": ["self"],
    "on_message_begin": ["self"],
    "on_header": ["self", "name", "value"],
    "on_headers_complete": ["self"],
    "on_body": ["self", "body"],
    "on_message_complete": ["self"],
    "on_response_complete": ["self"],
    "send_400_response": ["self", "msg"],
    "shutdown": ["self"],
}
CALLED = {"_unset_keepalive_if_required": ["self"], "timeout_keep_alive_handler": ["self"]}
ATTRIBUTES = [
    *("transport", "connections", "cycle", "headers", "loop", "parser", "scope", "url"),
    *("expect_100_continue", "flow", "timeout_keep_alive", "timeout_keep_alive_task"),
]
CYCLE_ATTRIBUTES = [
    *("transport", "disconnected", "keep_alive"),
    *("message_event", "response_complete", "response_started"),
]
SERVER_METHODS = {
    "handle_exit": ["self", "sig", "frame"],
    "startup": ["self", "sockets"],
    "shutdown": ["self", "sockets"],
}
SERVER_ATTRIBUTES = ["should_exit", "started", "servers"]


def changes(owner: type, methods: dict[str, list[str]], instance: Any, names: list[str]) -> str:
    """Return one sentence for each method or attribute that is not as this project needs it."""
    found = []
    for name, parameters in methods.items():
        method = getattr(owner, name, None)
        if method is None:
            found.append(f"{owner.__name__}.{name} is gone")
        elif (actual := list(inspect.signature(method).parameters)) != parameters:
            found.append(f"{owner.__name__}.{name} takes {actual}, expected {parameters}")
    found += [
        f"{owner.__name__} has no attribute {name!r}"
        for name in names
        if not hasattr(instance, name)
    ]
    if not found:
        return ""
    return f"uvicorn {version('uvicorn')} differs from what is overridden here: " + "; ".join(found)


async def _app(_scope: object, _receive: object, _send: object) -> None:
    """Serve nothing."""


@pytest.mark.anyio
async def test_uvicorns_protocol_has_what_connection_overrides() -> None:
    config = uvicorn.Config(_app, log_config=None)
    protocol = HttpToolsProtocol(config, ServerState(), {})
    protocol.on_message_begin()  # sets the attributes of a request

    assert not (found := changes(HttpToolsProtocol, METHODS | CALLED, protocol, ATTRIBUTES)), found


@pytest.mark.anyio
async def test_uvicorns_cycle_has_what_connection_uses() -> None:
    cycle = RequestResponseCycle(*[None] * 11)  # type: ignore[arg-type]

    assert not (found := changes(RequestResponseCycle, {}, cycle, CYCLE_ATTRIBUTES)), found


def test_uvicorns_server_has_what_draining_server_overrides() -> None:
    server = Server(uvicorn.Config(_app, log_config=None))
    server.servers = []  # as `startup` does

    assert not (found := changes(Server, SERVER_METHODS, server, SERVER_ATTRIBUTES)), found


def test_a_change_of_uvicorn_is_named() -> None:
    """The two tests above fail with the name of what has changed."""

    class Changed:
        def on_body(self, _body: bytes, _more: object) -> None:
            """Take one parameter more than expected."""

    needed = {"on_body": ["self", "body"], "on_message_complete": ["self"]}
    found = changes(Changed, needed, SimpleNamespace(url=b""), ["url", "cycle"])

    assert "Changed.on_body takes ['self', '_body', '_more'], expected ['self', 'body']" in found
    assert "Changed.on_message_complete is gone" in found
    assert "Changed has no attribute 'cycle'" in found
    assert "url" not in found


def test_every_method_that_is_overridden_is_checked() -> None:
    """Of uvicorn's own methods, those that the two subclasses define again."""
    for ours, theirs, checked in (
        (Connection, HttpToolsProtocol, METHODS),
        (DrainingServer, Server, SERVER_METHODS),
    ):
        overridden = {
            name
            for name, value in vars(ours).items()
            if inspect.isfunction(value) and name in vars(theirs)
        }
        assert overridden - {"__init__"} == checked.keys() - {"__init__"}


def test_the_parser_calls_the_methods_that_connection_overrides() -> None:
    """Httptools takes them from the protocol by their names."""
    called: list[str] = []

    class Protocol:
        def __getattr__(self, name: str) -> Any:
            return lambda *_: called.append(name)

    httptools.HttpRequestParser(Protocol()).feed_data(
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx"
    )

    needed = {"on_message_begin", "on_header", "on_headers_complete", "on_body"}
    assert needed | {"on_message_complete"} <= set(called)


def test_pyproject_allows_one_minor_version_of_uvicorn() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (allowed,) = [
        one for one in extras["optional-dependencies"]["service"] if one.startswith("uvicorn")
    ]
    major, minor = version("uvicorn").split(".")[:2]

    assert allowed == f"uvicorn>={major}.{minor},<{major}.{int(minor) + 1}"
