"""Which version answers a request: by its id, in the shares that were asked for."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic_yolo.detector.engines.choose import EngineOptions
from services.common.request.errors import MalformedRequest
from services.inference.versions.lineup import Lineup
from services.inference.versions.loader import Loader
from services.inference.versions.version import LoadedVersion
from tests.support.tiny import write_tiny_model

SMALL, WIDE = (32, 32), (64, 32)
IDS = [uuid.UUID(int=number).hex for number in range(4000)]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LoadedVersion]:
    folder = tmp_path_factory.mktemp("lineup")
    return {name: load(folder / name, 64 if name == "wide" else 32) for name in ("a", "b", "wide")}


def load(folder: Path, width: int) -> LoadedVersion:
    model = write_tiny_model(folder, width=width, manifest=f"version: {folder.name}\n")
    loader = Loader(EngineOptions(threads=1), streams=1, max_queue=1, max_batch=1)
    return loader.load(model, "", golden_must_agree=True)


def test_requests_are_shared_by_weight(loaded: dict[str, LoadedVersion]) -> None:
    """Ids that count up, as bad clients have them, are spread like any others."""
    lineup = Lineup(((loaded["a"], 95), (loaded["b"], 5)))

    answered = Counter(lineup.choose(uid, SMALL).version for uid in IDS)

    # 200 expected of 4,000; the standard deviation is 14.
    assert answered["a"] + answered["b"] == len(IDS)
    assert 150 < answered["b"] < 250


@given(st.uuids(), st.integers(0, 100), st.integers(0, 100))
def test_an_id_that_was_moved_to_the_new_version_stays_with_it(
    loaded: dict[str, LoadedVersion], uid: uuid.UUID, one: int, more: int
) -> None:
    """Where its share grows, nobody goes back and forth."""
    before, after = (
        Lineup(((loaded["a"], 200 - weight), (loaded["b"], weight))).choose(uid.hex, SMALL).version
        for weight in (one, one + more)
    )

    assert after == "b" or before == "a"


@given(st.uuids(), st.integers(0, 100), st.integers(1, 99))
def test_an_id_stays_where_it_is_when_only_the_sum_of_the_weights_changes(
    loaded: dict[str, LoadedVersion], uid: uuid.UUID, weight: int, times: int
) -> None:
    """95 to 5 and 950 to 50 are the same."""
    one, other = (
        Lineup(((loaded["a"], (101 - weight) * by), (loaded["b"], weight * by)))
        .choose(uid.hex, SMALL)
        .version
        for by in (1, times)
    )

    assert one == other


def test_a_channel_without_a_version_leaves_its_share_to_the_main_one(
    loaded: dict[str, LoadedVersion],
) -> None:
    lineup = Lineup(((loaded["a"], 1), (None, 99)))

    assert {lineup.choose(uid, SMALL).version for uid in IDS} == {"a"}


def test_who_still_sends_the_old_size_is_answered_by_the_version_that_leaves(
    loaded: dict[str, LoadedVersion],
) -> None:
    lineup = Lineup(((loaded["wide"], 1),), leaving=loaded["a"])

    assert lineup.choose(IDS[0], WIDE).version == "wide"
    assert lineup.choose(IDS[0], SMALL).version == "a"
    assert lineup.sizes == [WIDE, SMALL]
    with pytest.raises(MalformedRequest, match="416x416 pixels are taken no more"):
        lineup.choose(IDS[0], (416, 416))


def test_a_shadow_answers_nobody_and_cannot_be_asked_for(loaded: dict[str, LoadedVersion]) -> None:
    lineup = Lineup(((loaded["a"], 1),), shadow=loaded["b"])

    assert {lineup.choose(uid, SMALL).version for uid in IDS} == {"a"}
    assert lineup.named("b") is None
    assert lineup.loaded == [loaded["a"], loaded["b"]]


def test_a_version_waits_for_its_last_request_before_it_goes(tmp_path: Path) -> None:
    version = load(tmp_path / "c", 32)

    async def scenario() -> None:
        with version.in_use():
            retiring = asyncio.create_task(version.retire())
            with version.in_use():
                await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert not retiring.done()
        await retiring

    asyncio.run(scenario())
