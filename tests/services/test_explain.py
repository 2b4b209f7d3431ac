"""`POST /explain`: a saliency map of one detection, through all three services."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import numpy as np
import pytest
from PIL import Image

from elastic_yolo.lab.processes.stack import DEMO_MODEL, ROOT, Service, Stack, free_port
from tests.support.pictures import encode, plain
from tests.support.versions import sample
from tests.support.waiting import wait_until

SCENES = ROOT / "client" / "images"
# A busy machine may take a tenth of a second for each mask.
ON = {"EXPLAIN": "true", "REQUEST_TIMEOUT_MS": "120000"}
MASKS = 60
Detection = tuple[str, float, list[float]]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    logs = tmp_path_factory.mktemp("explain")
    env = {
        "web": ON,
        "preprocess": ON,
        "inference": {"PRECISION": "fp32", "REQUEST_TIMEOUT_MS": "120000"},
    }
    with Stack(model=DEMO_MODEL, logs=logs, env=env) as running:
        yield running


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.web.url, timeout=150) as opened:
        yield opened


def detect(client: httpx.Client, scene: str) -> list[Detection]:
    found: list[Detection] = client.post("/inference", files=picture_of(scene)).json()["data"]
    return found


def picture_of(scene: str) -> dict[str, bytes]:
    return {"image": (SCENES / scene).read_bytes()}


def query_of(detection: Detection, **more: Any) -> dict[str, Any]:
    label, _, box = detection
    return {"label": label, "box": ",".join(map(str, box)), "masks": MASKS, **more}


def explain(
    client: httpx.Client, scene: str, query: dict[str, Any], **headers: str
) -> httpx.Response:
    return client.post("/explain", files=picture_of(scene), params=query, headers=headers)


def test_the_map_is_highest_in_the_box_and_the_score_falls_without_that_part(
    client: httpx.Client,
) -> None:
    detection = detect(client, "scene-01.jpg")[0]

    explained = explain(client, "scene-01.jpg", query_of(detection, masks=150)).json()

    label, score, (x, y, width, height) = detection
    assert (explained["label"], explained["box"]) == (label, [x, y, width, height])
    assert explained["score"] == pytest.approx(score, abs=1e-3)
    assert (explained["masks"], explained["truncated"]) == (150, False)
    assert explained["best"]["score_without"] < score / 2
    values = np.array(explained["map"]["values"])
    assert values.shape == (explained["map"]["height"], explained["map"]["width"])
    map_x, map_y, map_width, map_height = explained["map"]["box"]
    assert (map_x, map_y) == pytest.approx((x, y), abs=3)
    assert (map_width, map_height) == pytest.approx((2 * width, 2 * height), abs=6)
    row, column = np.unravel_index(values.argmax(), values.shape)
    at_x = map_x + ((column + 0.5) / values.shape[1] - 0.5) * map_width
    at_y = map_y + ((row + 0.5) / values.shape[0] - 0.5) * map_height
    assert abs(at_x - x) <= width / 2
    assert abs(at_y - y) <= height / 2


def test_the_response_is_what_the_schema_says(client: httpx.Client) -> None:
    detection = detect(client, "scene-01.jpg")[0]
    operation = client.get("/openapi.json").json()["paths"]["/explain"]["post"]
    content = operation["responses"]["200"]["content"]

    response = explain(client, "scene-01.jpg", query_of(detection))

    assert set(content) == {"application/json", "image/png"}
    jsonschema_rs.validate(content["application/json"]["schema"], response.json())
    assert set(response.json()) == set(content["application/json"]["schema"]["properties"])
    assert response.json()["uid"] == response.headers["x-request-id"]


def test_a_heat_map_lies_over_the_upright_picture(client: httpx.Client) -> None:
    """The camera of scene-08 was turned: its file is stored sideways."""
    upright = client.post("/inference", files=picture_of("scene-08.jpg")).json()
    detection, size = upright["data"][0], upright["image"]

    response = explain(client, "scene-08.jpg", query_of(detection), Accept="image/png")

    drawn = Image.open(io.BytesIO(response.content))
    assert (drawn.size, drawn.mode) == ((size["width"], size["height"]), "RGBA")
    facts = json.loads(response.headers["x-explanation"])
    assert facts["masks"] == MASKS
    assert "map" not in facts
    alpha = np.asarray(drawn)[..., 3]
    y, x = np.unravel_index(alpha.argmax(), alpha.shape)
    _, _, (centre_x, centre_y, width, height) = detection
    assert abs(x - centre_x) <= width
    assert abs(y - centre_y) <= height


@pytest.mark.parametrize("accept", ["image/*", "image/jpeg, image/png;q=0.5"])
def test_a_heat_map_is_what_a_client_of_pictures_gets(client: httpx.Client, accept: str) -> None:
    detection = detect(client, "scene-03.jpg")[0]

    response = explain(client, "scene-03.jpg", query_of(detection), Accept=accept)

    assert response.headers["content-type"] == "image/png"


def test_a_seed_gives_the_same_map_every_time(client: httpx.Client) -> None:
    detection = detect(client, "scene-03.jpg")[0]

    first, again, other = (
        explain(client, "scene-03.jpg", query_of(detection, seed=seed)).json()["map"]["values"]
        for seed in (5, 5, 6)
    )

    assert np.abs(np.subtract(first, again)).max() <= 0.0001
    assert np.abs(np.subtract(first, other)).max() > 0.001


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"label": "unicorn"}, "the model finds no 'unicorn' there"),
        ({"box": "5,5,4,4"}, "there: expected a detection that /inference has returned"),
        ({"box": "1,2,3"}, "box: expected centre x, centre y, width and height"),
        ({"box": "1,2,3,nan"}, "box: expected pixels"),
        ({"box": "1,2,0,4"}, "box: expected pixels"),
        ({"label": ""}, "label: expected 1 to 200 characters"),
        ({"masks": "49"}, "masks: expected a whole number from 50 to 5000, found '49'"),
        ({"masks": "5001"}, "masks: expected"),
        ({"seed": "-1"}, "seed: expected"),
        ({"model": "ensemble:a+b"}, "not an ensemble"),
        ({"mask": "60"}, "did you mean masks?"),
    ],
)
def test_a_wrong_query_is_explained(
    client: httpx.Client, changed: dict[str, str], reason: str
) -> None:
    detection = detect(client, "scene-01.jpg")[0]

    refused = explain(client, "scene-01.jpg", query_of(detection) | changed)

    assert refused.status_code == 422
    assert reason in refused.json()["detail"]


def test_a_file_that_is_no_picture_is_refused_as_elsewhere(client: httpx.Client) -> None:
    query = query_of(("cat", 1.0, [1, 2, 3, 4]))

    assert client.post("/explain", files={"image": b"no"}, params=query).status_code == 415


def test_an_explanation_ends_at_its_deadline_and_another_one_waits_meanwhile(
    client: httpx.Client, stack: Stack
) -> None:
    detection = detect(client, "scene-01.jpg")[0]
    long = query_of(detection, masks=5000)

    def running() -> bool:
        return sample(stack.preprocess, "elastic_yolo_requests_in_flight") > 1

    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(explain, client, "scene-01.jpg", long, **{"X-Timeout-Ms": "20000"})
        # The scrape is in flight as well.
        wait_until(running, "preprocess explains", 20)
        second = explain(client, "scene-01.jpg", query_of(detection))
        while second.status_code == 200 and not first.done():
            second = explain(client, "scene-01.jpg", query_of(detection))
        explained = first.result().json()

    assert second.status_code == 429
    assert 1 <= int(second.headers["retry-after"]) <= 20
    assert "one detection at a time" in second.json()["detail"]
    assert explained["truncated"]
    assert 50 <= explained["masks"] < 5000
    assert explained["seconds"] < 20


def test_a_caller_is_told_to_wait_for_the_masks_that_are_left(
    client: httpx.Client, stack: Stack
) -> None:
    """Not for all the time that the running explanation may take, two minutes."""
    detection = detect(client, "scene-01.jpg")[0]
    picture_route = {"route": "/v2/models/{name}/infer (background)"}

    def masks() -> float:
        return sample(stack.inference, "elastic_yolo_requests_total", **picture_route)

    before = masks()
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(explain, client, "scene-01.jpg", query_of(detection, masks=200))
        wait_until(lambda: masks() > before + 100, "100 of 200 masks are predicted", 100)
        second = explain(client, "scene-01.jpg", query_of(detection))
        first.result().raise_for_status()

    assert second.status_code == 429
    assert 1 <= int(second.headers["retry-after"]) < 50


def test_an_explanation_ends_with_what_it_has_when_the_process_drains(tmp_path: Path) -> None:
    env = {"web": ON, "preprocess": ON, "inference": {"REQUEST_TIMEOUT_MS": "120000"}}
    route = "/v2/models/{name}/infer (background)"
    with (
        Stack(model=DEMO_MODEL, logs=tmp_path, env=env) as stack,
        httpx.Client(base_url=stack.web.url, timeout=150) as client,
        ThreadPoolExecutor(1) as threads,
    ):
        query = query_of(detect(client, "scene-01.jpg")[0], masks=5000)
        explained = threads.submit(explain, client, "scene-01.jpg", query)

        def masks() -> float:
            return sample(stack.inference, "elastic_yolo_requests_total", route=route)

        wait_until(lambda: masks() > 60, "sixty masks are predicted", 60)
        stack.preprocess.stop()
        found = explained.result().json()

    assert found["truncated"]
    assert 50 <= found["masks"] < 5000


def test_without_time_for_enough_masks_the_deadline_is_exceeded(client: httpx.Client) -> None:
    detection = detect(client, "scene-01.jpg")[0]

    late = explain(client, "scene-01.jpg", query_of(detection), **{"X-Timeout-Ms": "120"})

    assert late.status_code == 504


def test_masks_do_not_count_as_pictures(client: httpx.Client, stack: Stack) -> None:
    detection = detect(client, "scene-01.jpg")[0]

    def pictures() -> float:
        return sample(stack.inference, "elastic_yolo_model_pictures_total")

    before = pictures()
    explain(client, "scene-01.jpg", query_of(detection)).raise_for_status()

    assert pictures() == before
    route = "/v2/models/{name}/infer (background)"
    assert sample(stack.inference, "elastic_yolo_requests_total", route=route) >= MASKS
    assert sample(stack.preprocess, "elastic_yolo_explanations_total", outcome="complete") >= 1
    assert sample(stack.preprocess, "elastic_yolo_explanation_masks_total") >= MASKS


def test_without_the_setting_there_is_no_such_route(web: httpx.Client) -> None:
    query = query_of(("cat", 1.0, [1, 2, 3, 4]))

    answer = web.post("/explain", files=picture_of("scene-01.jpg"), params=query)

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert "/explain" not in web.get("/openapi.json").json()["paths"]


def test_explanations_are_behind_identity_and_limits(tmp_path: Path) -> None:
    token = "sixteen characters or more"  # noqa: S105
    env = {
        **ON,
        "PREPROCESS_URL": f"http://127.0.0.1:{free_port()}",
        "READY_ALONE": "true",
        "HOLD_S": "0",
        "ACCESS_TOKEN": token,
        "LIMIT_DAILY": "1",
    }
    with Service("web", free_port(), env, tmp_path / "log") as web:
        web.wait_ready()
        picture = encode(plain(64, 48), "JPEG")
        query = query_of(("cat", 1.0, [1, 2, 3, 4]))
        answers = [
            httpx.post(
                f"{web.url}/explain", params=query, headers=headers, files={"image": picture}
            )
            for headers in ({}, {"X-API-Key": token}, {"X-API-Key": token})
        ]

    assert [answer.status_code for answer in answers] == [401, 503, 429]
