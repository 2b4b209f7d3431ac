"""Arguments and variables that no request can be made with: BadArgument, of both clients."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from elastic_yolo.client import AsyncClient, Client
from elastic_yolo.client.errors import BadAnswer, BadArgument, Busy, NoAnswer, UnknownModel
from elastic_yolo.lab.processes.stack import free_port
from tests.support.scripted_server import Response, serve

FAR = "http://192.0.2.1"
Detect = Callable[..., object]


def detect(url: str, picture: str | bytes = b"x", timeout_s: float = 60, **asked: str) -> object:
    with Client(url, timeout_s=timeout_s) as client:
        return client.detect(picture, **asked)  # type: ignore[arg-type]


def detect_async(
    url: str, picture: str | bytes = b"x", timeout_s: float = 60, **asked: str
) -> object:
    async def run() -> object:
        async with AsyncClient(url, timeout_s=timeout_s) as client:
            return await client.detect(picture, **asked)  # type: ignore[arg-type]

    return asyncio.run(run())


@pytest.fixture(params=[detect, detect_async], ids=["Client", "AsyncClient"])
def ask(request: pytest.FixtureRequest) -> Detect:
    """Each of the two clients."""
    chosen: Detect = request.param
    return chosen


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy and no token."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name == "ELASTIC_YOLO_TOKEN":
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:1"),
        ("all_proxy", "foo://x"),
        ("HTTP_PROXY", "foo://secret"),
        ("HTTP_PROXY", "://secret"),
        ("HTTP_PROXY", "http://secret@[::1"),
        ("http_proxy", "http://secret:99999999"),
        ("HTTP_PROXY", "http://xn--/"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_an_error_with_the_name_of_its_variable(
    variable: str, value: str, ask: Detect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And without the value, which may have a password."""
    monkeypatch.setenv(variable, value)

    with pytest.raises(BadArgument, match=f"^{variable}: ") as raised:
        ask(FAR)

    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "[::1]"])
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:1"),
        ("HTTP_PROXY", "foo://x"),
        ("HTTP_PROXY", "http://[::1"),
        ("NO_PROXY", "[::1]"),
        ("NO_PROXY", "fe80::/10"),
    ],
)
def test_proxies_are_not_looked_at_for_this_machine(
    host: str, variable: str, value: str, ask: Detect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(NoAnswer):
        ask(f"http://{host}:{free_port()}", timeout_s=0.01)


def test_a_proxy_gets_the_requests_but_those_of_no_proxy(
    ask: Detect, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = {"Content-Type": "application/problem+json"}
    body = b'{"title": "Not Found", "detail": "no model \'a\' here"}'
    with serve(Response(404, body, problem)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.removeprefix("http://"))
        with pytest.raises(UnknownModel):
            ask("http://web.invalid:5000")
        monkeypatch.setenv("NO_PROXY", "fe80::/10, .invalid")
        with pytest.raises(NoAnswer):
            ask("http://web.invalid:5000", timeout_s=0.01)

        assert proxy.requests == 1


@pytest.mark.parametrize("content", [None, "no certificates"])
def test_certificates_that_cannot_be_read_are_an_error_with_the_name_of_the_variable(
    content: str | None, ask: Detect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))

    with pytest.raises(BadArgument, match=f"^SSL_CERT_FILE: {file}: "):
        ask("https://127.0.0.1:9")


def test_a_bad_token_is_an_error_that_says_where_it_is_from(
    ask: Detect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELASTIC_YOLO_TOKEN", "ü")

    with pytest.raises(BadArgument, match=r"^ELASTIC_YOLO_TOKEN: has characters"):
        ask(FAR)
    with pytest.raises(BadArgument, match=r"^token: has characters"):
        Client(FAR, token="ü")  # noqa: S106  # none


def test_a_password_in_the_url_does_not_replace_the_token() -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(BadArgument, match="a user name and password in the URL") as raised:
            kind("http://user:secret@web", token="key")  # noqa: S106  # none

        assert "secret" not in str(raised.value)


@pytest.mark.parametrize("timeout_s", [604_801, 1e10, 1e300])
def test_a_timeout_above_a_week_is_refused(timeout_s: float, ask: Detect) -> None:
    with pytest.raises(BadArgument, match=r"timeout_s: .* at most 604,800"):
        ask("http://127.0.0.1:9", timeout_s=timeout_s)


def test_a_timeout_of_a_week_is_taken(ask: Detect) -> None:
    body = b'{"title": "Busy", "detail": "no room"}'
    headers = {"Content-Type": "application/problem+json", "Retry-After": "99999999"}
    with serve(Response(429, body, headers)) as server, pytest.raises(Busy) as raised:
        ask(server.url, timeout_s=604_800)

    assert raised.value.retry_after_s == 99_999_999


@pytest.mark.parametrize("model", ["\ud800", "a\udcff"])
def test_a_model_that_is_no_text_is_refused(model: str, ask: Detect) -> None:
    with pytest.raises(BadArgument, match=r"^model: "):
        ask("http://127.0.0.1:9", model=model)


@pytest.mark.parametrize("picture", ["\ud800.jpg", "a\0.jpg"])
def test_a_name_that_no_file_can_have_is_refused(picture: str, ask: Detect) -> None:
    with pytest.raises(BadArgument, match="not the name of a file"):
        ask("http://127.0.0.1:9", picture)


@pytest.mark.parametrize("url", ["http://xn--/", "http://a..b", "http://\ud800", "http://x.\udcff"])
def test_a_host_that_no_resolver_takes_is_refused(url: str, ask: Detect) -> None:
    with pytest.raises(BadArgument):
        ask(url)


def test_a_client_that_was_closed_is_refused() -> None:
    client, other = Client("http://127.0.0.1:9"), AsyncClient("http://127.0.0.1:9")
    client.close()

    async def run() -> None:
        await other.close()
        await other.detect(b"x")

    with pytest.raises(BadArgument, match="the client was closed"):
        client.detect(b"x")
    with pytest.raises(BadArgument, match="the client was closed"):
        asyncio.run(run())


def test_a_pipe_without_a_writer_is_given_up_when_the_time_is_over(
    ask: Detect, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")

    with pytest.raises(TimeoutError, match=r"pipe\.jpg"):
        ask("http://127.0.0.1:9", str(tmp_path / "pipe.jpg"), timeout_s=0.05)


def test_both_say_what_the_system_says_of_a_name_with_several_addresses(ask: Detect) -> None:
    with pytest.raises(NoAnswer, match=r"no answer \(Connection refused\)"):
        ask(f"http://localhost:{free_port()}", timeout_s=0.1)


def test_another_service_of_ours_is_not_taken_for_web(ask: Detect) -> None:
    """It has no /inference; web's 404 says which model is unknown."""
    body = b'{"title": "Not Found", "detail": "Not Found"}'
    problem = Response(404, body, {"Content-Type": "application/problem+json"})
    with serve(problem) as server, pytest.raises(BadAnswer, match="what answered is not web"):
        ask(server.url)
