"""Pictures with boxes: drawn by preprocess on the pixels that were detected in."""

from __future__ import annotations

import io
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from PIL import Image

from elastic_yolo.lab.processes.stack import Stack
from elastic_yolo.picture.drawing import colour_of
from tests.support.picture_variants import variant
from tests.support.pictures import encode, plain
from tests.support.tiny import write_tiny_model

LABEL = "猫 кот قطة"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Services whose model finds a box in the middle of every picture, with a label of Unicode."""
    folder = tmp_path_factory.mktemp("drawing")
    model = write_tiny_model(folder / "model")
    (model / "tiny.names").write_text(f"{LABEL}\ncircle\n", encoding="utf-8")
    with Stack(model=model, logs=folder) as running:
        yield running


@pytest.fixture(scope="module")
def web(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.web.url, timeout=60) as client:
        yield client


def post(client: httpx.Client, picture: bytes, accept: str) -> httpx.Response:
    headers = {"Content-Type": "image/png", "Accept": accept}
    return client.post("/inference", content=picture, headers=headers)


def check_agreement(web: httpx.Client, numbers: range) -> None:
    """JSON and a drawn picture succeed together with one size, or fail with one problem."""
    for number in numbers:
        one = variant(number)
        found = post(web, one.data, "application/json")
        drawn = post(web, one.data, "image/png")

        assert found.status_code in (200, 415, 422), one.name
        assert drawn.status_code == found.status_code, (one.name, found.text, drawn.text[:200])
        if found.status_code == 200:
            size = Image.open(io.BytesIO(drawn.content)).size
            assert found.json()["image"] == {"width": size[0], "height": size[1]}, one.name
            assert size == one.pixels.shape[1::-1], one.name
        else:
            assert one.is_cut, one.name
            assert drawn.json()["detail"] == found.json()["detail"]


def test_json_and_drawing_agree(web: httpx.Client) -> None:
    check_agreement(web, range(60))


@pytest.mark.long
def test_json_and_drawing_agree_for_a_thousand_files(web: httpx.Client) -> None:
    check_agreement(web, range(60, 1060))


def test_the_drawing_has_the_colours_of_the_file(web: httpx.Client) -> None:
    """Of a BMP whose masks put red into the lowest byte, too: `variant` has such files."""
    pixels = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)

    drawn = post(web, encode(pixels), "image/png")

    found = np.asarray(Image.open(io.BytesIO(drawn.content)))
    assert np.array_equal(found[:40], pixels[:40])
    assert (found == colour_of(LABEL)).all(axis=2).sum() > 100


def test_a_large_jpeg_is_drawn_at_its_full_size(web: httpx.Client) -> None:
    """Although its boxes were found at an eighth of it."""
    picture = encode(plain(800, 600), "JPEG")

    drawn = post(web, picture, "image/jpeg")

    assert Image.open(io.BytesIO(drawn.content)).size == (800, 600)
    assert {"decode", "drawing_queue"} <= {
        entry.partition(";")[0].strip() for entry in drawn.headers["server-timing"].split(",")
    }


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1)])
def test_a_single_row_or_column_is_drawn_in_any_orientation(
    web: httpx.Client, size: tuple[int, int], orientation: int
) -> None:
    assert post(web, encode(plain(*size), "PNG", orientation), "image/png").status_code == 200


def test_a_picture_that_a_jpeg_cannot_hold_is_refused_with_what_to_do(web: httpx.Client) -> None:
    tall = encode(plain(8, 66_000), "PNG")

    refused = post(web, tall, "image/jpeg")

    assert refused.status_code == 422
    assert "at most 65,500 pixels on a side" in refused.json()["detail"]
    assert "ask for image/png" in refused.json()["detail"]
    assert post(web, tall, "image/png").status_code == 200
    assert post(web, tall, "application/json").json()["image"] == {"width": 8, "height": 66_000}


def test_a_drawing_that_web_would_not_accept_is_refused_with_what_to_do(web: httpx.Client) -> None:
    """Noise of 23 megapixels makes a PNG of 69 MB."""
    noise = np.random.default_rng(0).integers(0, 256, (4800, 4800, 3), dtype=np.uint8)
    picture = encode(noise, "JPEG", quality=60)

    refused = post(web, picture, "image/png")

    assert refused.status_code == 422
    assert "the limit is 64,000,000: ask for image/jpeg" in refused.json()["detail"]
    assert post(web, picture, "image/jpeg").status_code == 200


def test_preprocess_states_the_model_of_a_drawing(stack: Stack) -> None:
    picture = encode(plain(64, 64))
    url = f"{stack.preprocess.url}/process"

    found = httpx.post(url, content=picture).json()["model"]
    drawn = httpx.post(url, content=picture, headers={"Accept": "image/png"})

    assert drawn.headers["content-type"] == "image/png"
    facts = {name: drawn.headers[f"x-model-{name}"] for name in ("name", "version", "digest")}
    assert facts == found
