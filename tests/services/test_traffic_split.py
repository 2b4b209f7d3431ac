"""Which version responds to a request: chosen by the request id, in proportion to the weights."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic_yolo.detector.engines.choose import EngineOptions
from elastic_yolo.names import Resize
from services.common.request.errors import MalformedRequest
from services.inference.protocol import InferRequest
from services.inference.versions.loaded_version import LoadedVersion
from services.inference.versions.traffic_split import TrafficSplit
from services.inference.versions.version_loader import VersionLoader
from tests.support.tiny import write_tiny_model


def request_of(width: int, height: int, resize: Resize | None = None) -> InferRequest:
    """Return a request with a black picture; `resize` is the rule that the caller states."""
    images = np.zeros((1, height, width, 3), np.uint8)
    return InferRequest(None, images, None, None, resize=resize)


SMALL, WIDE = request_of(32, 32), request_of(64, 32)
IDS = [uuid.UUID(int=number).hex for number in range(4000)]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LoadedVersion]:
    folder = tmp_path_factory.mktemp("split")
    versions = {
        name: load(folder / name, 64 if name == "wide" else 32) for name in ("a", "b", "wide")
    }
    return versions | {"stretched": load(folder / "stretched", 32, "stretch")}


def load(folder: Path, width: int, resize: Resize = "letterbox") -> LoadedVersion:
    manifest = f"version: {folder.name}\nresize: {resize}\n"
    model = write_tiny_model(folder, width=width, manifest=manifest)
    loader = VersionLoader(EngineOptions(threads=1), max_queue=1, max_batch=1)
    return loader.load(model, "", golden_must_agree=True)


def test_requests_are_split_by_weight(loaded: dict[str, LoadedVersion]) -> None:
    """Ids that count up, as simple clients send them, spread like any others."""
    split = TrafficSplit(((loaded["a"], 95), (loaded["b"], 5)))

    picked = Counter(split.pick_version(uid, SMALL).version for uid in IDS)

    # 200 expected of 4,000; the standard deviation is 14.
    assert picked["a"] + picked["b"] == len(IDS)
    assert 150 < picked["b"] < 250


@given(st.uuids(), st.integers(0, 100), st.integers(0, 100))
def test_a_request_id_stays_with_a_version_whose_weight_grows(
    loaded: dict[str, LoadedVersion], uid: uuid.UUID, weight: int, more: int
) -> None:
    before, after = (
        TrafficSplit(((loaded["a"], 200 - share), (loaded["b"], share)))
        .pick_version(uid.hex, SMALL)
        .version
        for share in (weight, weight + more)
    )

    assert after == "b" or before == "a"


@given(st.uuids(), st.integers(0, 100), st.integers(1, 99))
def test_only_the_proportion_of_the_weights_counts(
    loaded: dict[str, LoadedVersion], uid: uuid.UUID, weight: int, times: int
) -> None:
    """95 to 5 and 950 to 50 are the same."""
    one, other = (
        TrafficSplit(((loaded["a"], (101 - weight) * by), (loaded["b"], weight * by)))
        .pick_version(uid.hex, SMALL)
        .version
        for by in (1, times)
    )

    assert one == other


@given(st.uuids(), st.integers(1, 99))
def test_picture_files_get_the_version_that_pixels_get(
    loaded: dict[str, LoadedVersion], uid: uuid.UUID, weight: int
) -> None:
    split = TrafficSplit(((loaded["a"], 100 - weight), (None, 5), (loaded["b"], weight)))

    assert split.pick_version_for_files(uid.hex) is split.pick_version(uid.hex, SMALL)


def test_picture_files_may_go_to_a_version_of_another_input_format(
    loaded: dict[str, LoadedVersion],
) -> None:
    """Each is prepared for its version, so versions of several sizes share them by weight."""
    split = TrafficSplit(((loaded["a"], 1), (loaded["wide"], 1), (loaded["stretched"], 2)))

    picked = Counter(split.pick_version_for_files(uid).version for uid in IDS)

    # The standard deviations are 27 and 32.
    assert picked["a"] == pytest.approx(1000, abs=130)
    assert picked["stretched"] == pytest.approx(2000, abs=150)


def test_a_channel_without_a_version_leaves_its_share_to_the_main_one(
    loaded: dict[str, LoadedVersion],
) -> None:
    split = TrafficSplit(((loaded["a"], 1), (None, 99)))

    assert {split.pick_version(uid, SMALL).version for uid in IDS} == {"a"}


def test_an_outgoing_version_responds_to_requests_of_the_old_size(
    loaded: dict[str, LoadedVersion],
) -> None:
    split = TrafficSplit(((loaded["wide"], 1),), outgoing=loaded["a"])

    assert split.pick_version(IDS[0], WIDE).version == "wide"
    assert split.pick_version(IDS[0], SMALL).version == "a"
    assert split.sizes == [WIDE.size, SMALL.size]
    with pytest.raises(
        MalformedRequest, match="4x4 pixels are not accepted; send 64x32 letterbox, 32x32 letterbox"
    ):
        split.pick_version(IDS[0], request_of(4, 4))


def test_an_outgoing_version_responds_to_requests_of_the_old_resize_rule(
    loaded: dict[str, LoadedVersion],
) -> None:
    """A caller that states no rule gets the main version, whatever its rule is."""
    split = TrafficSplit(((loaded["stretched"], 1),), outgoing=loaded["a"])

    assert split.pick_version(IDS[0], request_of(32, 32, "stretch")).version == "stretched"
    assert split.pick_version(IDS[0], request_of(32, 32, "letterbox")).version == "a"
    assert split.pick_version(IDS[0], SMALL).version == "stretched"
    assert split.sizes == [(32, 32)]


def test_pictures_of_another_resize_rule_are_refused(loaded: dict[str, LoadedVersion]) -> None:
    split = TrafficSplit(((loaded["a"], 1),))

    with pytest.raises(
        MalformedRequest, match="of 32x32 stretch are not accepted; send 32x32 letterbox"
    ):
        split.pick_version(IDS[0], request_of(32, 32, "stretch"))
    with pytest.raises(MalformedRequest, match="version a takes pictures of 32x32 letterbox, not "):
        loaded["a"].require_format(request_of(32, 32, "stretch"))


def test_a_shadow_never_responds_and_cannot_be_requested(
    loaded: dict[str, LoadedVersion],
) -> None:
    split = TrafficSplit(((loaded["a"], 1),), shadow=loaded["b"])

    assert {split.pick_version(uid, SMALL).version for uid in IDS} == {"a"}
    assert split.find_version("b") is None
    assert split.loaded == [loaded["a"], loaded["b"]]


@pytest.mark.anyio
async def test_a_version_retires_after_its_last_request(tmp_path: Path) -> None:
    version = load(tmp_path / "c", 32)

    with version.in_use():
        retiring = asyncio.create_task(version.retire())
        with version.in_use():
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not retiring.done()
    await retiring
