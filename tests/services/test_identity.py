"""Web knows its clients: by API keys of a file, ACCESS_TOKEN, and tokens of an issuer."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from elastic_yolo.api_key import key_digest, new_key
from elastic_yolo.lab.processes.stack import ROOT, Service, Stack, free_port
from services.common.core.model_list import ModelList, ModelSummary
from services.common.observe.telemetry import MOST_CLIENTS, Metrics
from services.common.request.errors import Forbidden
from services.common.request.identity import Identity
from services.web.identity.api_keys import ApiKeys
from services.web.identity.rights import choose_model
from tests.support.collector import Collector
from tests.support.log_lines import read_log
from tests.support.pictures import encode, plain
from tests.support.tiny import write_tiny_model
from tests.support.token_issuer import AUDIENCE, TokenIssuer, new_ec_key, token_issuer
from tests.support.tracing import caller, only, web_alone
from tests.support.versions import sample
from tests.support.waiting import wait_until

JPEG = encode(plain(64, 48), "JPEG")
TOKEN = "a long enough token"  # noqa: S105
TYPED_KEY = "ein Schlüssel: клавиша"
KEY, NEXT_KEY, OLD_KEY, LIMITED_KEY = (new_key() for _ in range(4))


def keys_file(*clients: dict[str, Any]) -> str:
    """JSON is YAML too."""
    return json.dumps({"clients": clients})


CLIENTS = (
    {
        "name": "ci",
        "keys": [
            {"sha256": key_digest(KEY)},
            {"sha256": key_digest(NEXT_KEY), "expires": "2999-01-01T00:00:00Z"},
            {"sha256": key_digest(OLD_KEY), "expires": "2020-01-01"},
            {"sha256": key_digest(TYPED_KEY)},
        ],
        "tenant": "team-a",
    },
    {
        "name": "limited",
        "keys": [{"sha256": key_digest(LIMITED_KEY)}],
        "models": ["other", "tiny"],
    },
)


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenIssuer]:
    with token_issuer(tmp_path_factory.mktemp("issuer")) as running:
        yield running


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The three services; web knows keys of a file and ACCESS_TOKEN."""
    folder = tmp_path_factory.mktemp("identity")
    path = folder / "keys.yaml"
    path.write_text(keys_file(*CLIENTS))
    other = write_tiny_model(folder / "other", manifest="name: other\n")
    models = {"MODEL_OTHER_PATH": str(other)}
    env = {"web": {"ACCESS_TOKEN": TOKEN, "API_KEYS_FILE": str(path)}, "inference": models}
    with Stack(model=write_tiny_model(folder / "tiny"), logs=folder, env=env) as running:
        yield running


def post(
    service: Service, headers: dict[str, str] | httpx.Headers, query: str = ""
) -> httpx.Response:
    sent = [(b"Content-Type", b"image/jpeg"), *httpx.Headers(headers).raw]
    return httpx.post(f"{service.url}/inference{query}", content=JPEG, headers=sent, timeout=60)


def bearer(credential: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {credential}"}


def test_models_are_listed_for_known_clients_and_only_those_that_they_may_use(
    stack: Stack,
) -> None:
    url = f"{stack.web.url}/models"
    everything = httpx.get(url, headers=bearer(KEY)).json()
    limited = httpx.get(url, headers=bearer(LIMITED_KEY)).json()

    assert httpx.get(url).status_code == 401
    assert [model["name"] for model in everything["models"]] == ["other", "tiny"]
    assert everything["default"]["name"] == "tiny"
    assert [model["name"] for model in limited["models"]] == ["other", "tiny"]
    assert limited["default"]["name"] == "other"


def test_a_list_for_a_client_has_its_models_in_its_order() -> None:
    a, b, c = (ModelSummary(name=name, version="1", threshold=0.5, labels=1) for name in "abc")
    listed = ModelList(default=a, models=[a, b, c])

    assert listed.only(("c", "b", "x")) == ModelList(default=c, models=[c, b])
    assert listed.only(("x", "b")) == ModelList(default=None, models=[b])
    assert listed.only(()) == ModelList(default=None, models=[])


@pytest.mark.parametrize(
    "headers",
    [bearer(KEY), {"X-API-Key": KEY}, bearer(NEXT_KEY), bearer(TOKEN), {"X-API-Key": TOKEN}],
    ids=["bearer", "x-api-key", "second key", "access token", "access token as key"],
)
def test_a_picture_with_a_valid_key_is_accepted(stack: Stack, headers: dict[str, str]) -> None:
    assert post(stack.web, headers).status_code == 200


def test_a_key_may_have_letters_of_any_language(stack: Stack) -> None:
    """As a terminal sends them: in UTF-8."""
    assert post(stack.web, httpx.Headers({b"X-API-Key": TYPED_KEY.encode()})).status_code == 200


@pytest.mark.parametrize("name", ["Authorization", "X-API-Key"])
def test_two_credentials_of_one_kind_are_refused(stack: Stack, name: str) -> None:
    """A proxy in front might mean the other one."""
    value = f"Bearer {KEY}" if name == "Authorization" else KEY
    refused = post(stack.web, httpx.Headers([(name, value), (name, "another")]))

    assert refused.status_code == 400
    assert refused.json()["detail"] == f"{name}: given 2 times, expected once"


@pytest.mark.parametrize(
    ("headers", "status", "detail"),
    [
        ({}, 401, "this service requires an API key or a token: send Authorization: Bearer"),
        ({"X-API-Key": ""}, 401, "this service requires an API key or a token: send "),
        ({"X-API-Key": KEY + "x"}, 401, "the API key or token is not known to this service"),
        (bearer(key_digest(KEY)), 401, "the API key or token is not known to this service"),
        (bearer(OLD_KEY), 401, "the API key expired at 2020-01-01T00:00:00Z"),
        ({**bearer(KEY), "X-API-Key": KEY}, 400, "send either Authorization: Bearer ... or"),
    ],
    ids=["none", "empty", "wrong", "its digest", "expired", "two"],
)
def test_a_picture_without_a_valid_key_is_refused(
    stack: Stack, headers: dict[str, str], status: int, detail: str
) -> None:
    refused = post(stack.web, headers)

    assert refused.status_code == refused.json()["status"] == status
    assert refused.json()["detail"].startswith(detail)
    assert refused.headers.get("www-authenticate") == ("Bearer" if status == 401 else None)
    assert KEY not in refused.text


@pytest.mark.parametrize(
    ("query", "status", "model"),
    [
        ("", 200, "other"),
        ("?model=tiny", 200, "tiny"),
        ("?model=secret", 403, None),
        ("?model=ensemble:tiny%2Bother", 200, "ensemble:tiny+other"),
        ("?model=ensemble:tiny%2Bsecret", 403, None),
        ("?model=ensemble:tiny+secret", 403, None),
    ],
)
def test_a_client_with_rights_uses_its_own_models_only(
    stack: Stack, query: str, status: int, model: str | None
) -> None:
    answer = post(stack.web, bearer(LIMITED_KEY), query)

    assert answer.status_code == status, answer.text
    if model is None:
        assert answer.json()["detail"] == (
            "this client may not use the model 'secret': it may use other, tiny"
        )
    else:
        assert answer.json()["model"]["name"] == model


def test_rights_are_exact() -> None:
    def may_use(models: tuple[str, ...] | None, wanted: str | None) -> str | None:
        return choose_model(Identity("key", "a", "a", models), wanted)

    assert may_use(None, "any") == "any"
    assert may_use(None, None) is None
    assert may_use(("a", "b"), None) == "a"
    for models, wanted in (
        ((), None),
        ((), "a"),
        (("a",), "A"),
        (("a",), "a "),
        (("a",), ""),
        (("a",), "ensemble:a+b"),
        (("a",), "ensemble:a b"),
        (("a",), "ensemble:"),
    ):
        with pytest.raises(Forbidden):
            may_use(models, wanted)


def test_the_log_and_the_metrics_name_the_client(stack: Stack) -> None:
    answer = post(stack.web, bearer(NEXT_KEY))
    uid = answer.headers["x-request-id"]
    log = stack.web.log
    assert log is not None

    def logged() -> list[dict[str, Any]]:
        return [line for line in read_log(log) if line.get("uid") == uid]

    wait_until(lambda: bool(logged()), "the request is logged")
    [line] = logged()

    assert line["client"] == "ci"
    assert KEY not in log.read_text()
    counted = sample(stack.web, "elastic_yolo_client_requests_total", client="ci", status="200")
    assert counted >= 1


def test_the_metrics_of_many_clients_are_bounded() -> None:
    metrics = Metrics("web")
    metrics.watch_clients()
    for number in range(MOST_CLIENTS + 50):
        metrics.count_client(f"client-{number}", 200)
    metrics.count_client("client-0", 200)

    def count(client: str) -> float | None:
        return metrics.registry.get_sample_value(
            "elastic_yolo_client_requests_total",
            {"service": "web", "client": client, "status": "200"},
        )

    assert count("(other)") == 50
    assert count("client-0") == 2
    assert count(f"client-{MOST_CLIENTS}") is None


@pytest.mark.parametrize(
    ("env", "event"),
    [
        ({}, "no identity: anyone may send pictures"),
        ({"ACCESS_TOKEN": TOKEN}, "identity is required"),
    ],
)
def test_the_log_says_at_the_start_who_may_send_pictures(
    tmp_path: Path, env: dict[str, str], event: str
) -> None:
    log = tmp_path / "log"
    settings = {"PREPROCESS_URL": "http://127.0.0.1:1", **env}
    with Service("web", free_port(), settings, log) as web:
        wait_until(lambda: log.exists() and '"listening"' in log.read_text(), "it listens")
        events = [line["event"] for line in read_log(log)]

    assert web.process.returncode == 0
    assert events.count(event) == 1


def gate_passes(web: Service, credential: str) -> int:
    """Return 415 if the credential is good: what follows the gate refuses a body without a type."""
    headers = bearer(credential)
    return httpx.post(f"{web.url}/inference", content=b"x", headers=headers).status_code


def wait_listening(web: Service) -> None:
    def listens() -> bool:
        try:
            return httpx.get(f"{web.url}/livez").status_code == 200
        except httpx.TransportError:
            return False

    wait_until(listens, "web listens")


def test_a_changed_file_of_keys_is_used_and_a_broken_one_is_not(tmp_path: Path) -> None:
    """As Kubernetes changes a mounted Secret: a link is replaced."""
    path, log = tmp_path / "keys.yaml", tmp_path / "log"

    def write(text: str) -> None:
        (tmp_path / "new").write_text(text)
        (tmp_path / "new").replace(path)

    write(keys_file({"name": "a", "keys": [{"sha256": key_digest(KEY)}]}))
    settings = {"PREPROCESS_URL": "http://127.0.0.1:1", "API_KEYS_FILE": str(path)}
    with Service("web", free_port(), settings, log) as web:
        wait_listening(web)
        assert gate_passes(web, KEY) == 415
        assert gate_passes(web, NEXT_KEY) == 401

        write("clients: [{name: a, keys: [{sha256: broken}]}]")
        wait_until(lambda: "the new file is not used" in log.read_text(), "it is read")
        assert gate_passes(web, KEY) == 415

        write(keys_file({"name": "a", "keys": [{"sha256": key_digest(NEXT_KEY)}]}))
        wait_until(lambda: gate_passes(web, NEXT_KEY) == 415, "the new key is accepted")
        assert gate_passes(web, KEY) == 401

    assert "broken" not in log.read_text()
    assert log.read_text().count("the new file is not used") == 1


def test_the_live_view_of_a_revoked_key_ends(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text(keys_file({"name": "a", "keys": [{"sha256": key_digest(KEY)}]}))
    settings = {"PREPROCESS_URL": "http://127.0.0.1:1", "API_KEYS_FILE": str(path)}
    with Service("web", free_port(), settings, tmp_path / "log") as web:
        wait_listening(web)
        url = f"{web.url}/live/events"
        with httpx.stream("GET", url, headers=bearer(KEY), timeout=60) as viewer:
            events = viewer.iter_raw()
            assert next(events).startswith(b"event: snapshot")
            path.write_text(keys_file({"name": "a", "keys": [{"sha256": key_digest(NEXT_KEY)}]}))
            rest = list(events)
        assert rest
        assert httpx.get(url, headers=bearer(KEY)).status_code == 401


@pytest.mark.anyio
async def test_a_long_file_of_keys_keeps_no_request_waiting(tmp_path: Path) -> None:
    """It is parsed in a thread, and only if it has changed."""
    path = tmp_path / "keys.yaml"
    path.write_text(keys_file({"name": "a", "keys": [{"sha256": key_digest(KEY)}]}))
    keys = ApiKeys(path, None)
    entries = [{"name": f"c{n}", "keys": [{"sha256": f"{n:064x}"}]} for n in range(500)]
    path.write_text(keys_file(*entries))

    refreshing = asyncio.create_task(keys.refresh(path))
    turns = 0
    while not refreshing.done():
        await asyncio.sleep(0.001)
        turns += 1
    began = time.process_time()
    for _ in range(10):
        await keys.refresh(path)
    spent_s = time.process_time() - began

    assert keys.count == 500
    assert turns > 5
    assert spent_s < 0.1


def settings_of(issuer: TokenIssuer, **changed: str) -> dict[str, str]:
    return {
        "PREPROCESS_URL": "http://127.0.0.1:1",
        "OIDC_ISSUER": issuer.url,
        "OIDC_AUDIENCE": AUDIENCE,
        **changed,
    }


@pytest.mark.parametrize(
    ("credential", "description"),
    [
        ("expired", "the token has expired"),
        ("garbage", "not a valid JSON Web Token"),
        ("long", "the token exceeds 16,384 characters"),
    ],
)
def test_an_invalid_token_gets_the_challenge_of_rfc_6750(
    issuer: TokenIssuer, tmp_path: Path, credential: str, description: str
) -> None:
    sent = {"expired": issuer.sign({"exp": 1}), "garbage": "x.y.z", "long": "x" * 20_000}
    with Service("web", free_port(), settings_of(issuer), tmp_path / "log") as web:
        wait_listening(web)
        wait_until(lambda: gate_passes(web, issuer.issue()) == 415, "the keys are there")
        refused = post(web, bearer(sent[credential]))
        without = post(web, {})
        huge = post(web, bearer("x" * 1_000_000))

    assert refused.status_code == 401
    assert refused.json()["detail"] == description
    assert refused.headers["www-authenticate"] == (
        f'Bearer error="invalid_token", error_description="{description}"'
    )
    assert without.headers["www-authenticate"] == "Bearer"
    assert huge.status_code == 400
    assert huge.json()["detail"] == "the request's head exceeds the limit of 65,536 bytes"


def test_web_starts_without_its_issuer_and_follows_it(tmp_path: Path) -> None:
    with token_issuer(tmp_path / "issuer") as issuer:
        issuer.stop()
        settings = settings_of(issuer, OIDC_STALE_S="2")
        with Service("web", free_port(), settings, tmp_path / "log") as web:
            wait_listening(web)
            early = post(web, bearer(issuer.sign()))
            issuer.start()
            wait_until(lambda: gate_passes(web, issuer.sign()) == 415, "the keys are there", 60)
            issuer.restart({"new": new_ec_key()})
            wait_until(
                lambda: gate_passes(web, issuer.sign(kid="new")) == 415, "the new key is known", 60
            )
            issuer.stop()
            # Each token is another one: those that were checked are remembered.
            count = iter(range(10_000))

            def another() -> str:
                return issuer.sign({"jti": str(next(count))}, kid="new")

            wait_until(lambda: gate_passes(web, another()) == 503, "the keys are too old", 60)
            late = post(web, bearer(another()))

    for refused in (early, late):
        assert refused.status_code == 503
        assert refused.json()["detail"] == (
            "tokens cannot be checked: the issuer's keys could not be fetched"
        )
        assert int(refused.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("clients: [{name: a}]", "clients.0.keys: Field required"),
        ("clients: [{name: a, keys: [{sha256: 12}]}]", "clients.0.keys.0.sha256: "),
        ("clients: [{name: 'a b', keys: []}]", "clients.0.name: "),
        ("clients: [{name: access-token, keys: []}]", "clients.0.name: access-token is the client"),
        (
            "clients: [{name: a, keys: []}, {name: a, keys: []}]",
            "clients: two clients are called a",
        ),
        ("clients: [{name: a, keys: [], limits: {rate: -1}}]", "clients.0.limits.rate: "),
        ("client: []", "client: unknown field, did you mean clients?"),
        ("clients: [", "not valid YAML"),
        ("clients: [{name: a, keys: [], models: [], models: [b]}]", "a name that is there already"),
    ],
)
def test_an_invalid_file_of_keys_stops_the_start_with_one_line(
    tmp_path: Path, text: str, reason: str
) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text(text)
    log = tmp_path / "log"
    settings = {"PREPROCESS_URL": "http://127.0.0.1:1", "API_KEYS_FILE": str(path)}
    with Service("web", free_port(), settings, log) as web:
        status = web.process.wait(60)

    assert status == 2
    [line] = log.read_text().splitlines()
    assert line.startswith(f"API_KEYS_FILE: {path}")
    assert reason in line


def test_one_key_of_two_clients_stops_the_start(tmp_path: Path) -> None:
    path, log = tmp_path / "keys.yaml", tmp_path / "log"
    keys = [{"sha256": key_digest(KEY)}]
    path.write_text(keys_file({"name": "a", "keys": keys}, {"name": "b", "keys": keys}))
    settings = {"PREPROCESS_URL": "http://127.0.0.1:1", "API_KEYS_FILE": str(path)}
    with Service("web", free_port(), settings, log) as web:
        assert web.process.wait(60) == 2

    assert "clients: b: the key of an entry before it" in log.read_text()


def test_secrets_can_be_files(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    settings = {
        "PREPROCESS_URL": "http://127.0.0.1:1",
        "ACCESS_TOKEN_FILE": str(tmp_path / "token"),
    }
    with Service("web", free_port(), settings, tmp_path / "log") as web:
        wait_listening(web)

        assert gate_passes(web, TOKEN) == 415
        assert gate_passes(web, "another long token") == 401


def test_the_trace_of_a_picture_names_the_client(tmp_path: Path) -> None:
    sender = caller()
    with (
        Collector().running() as collector,
        web_alone(tmp_path, collector, "http://127.0.0.1:1", ACCESS_TOKEN=TOKEN) as web,
    ):
        post(web, {**bearer(TOKEN), **sender.headers})
        spans = collector.wait(sender.trace_id, sender.span_id)

    assert only(spans, "POST /inference", "SERVER").attributes["elastic_yolo.client"] == (
        "access-token"
    )


def test_without_identity_and_limits_their_libraries_are_not_loaded() -> None:
    program = """
import sys
from services.web.app import create_app
from services.web.settings import WebSettings
create_app(WebSettings(preprocess_url="http://127.0.0.1:1"))
print(*{"jwt", "cryptography", "httpx", "redis", "yaml"} & sys.modules.keys())
"""
    loaded = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert loaded.stdout.split() == []
