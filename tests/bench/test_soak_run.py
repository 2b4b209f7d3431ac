"""A soak of a few seconds against the services, and against what only pretends to be them."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bench.soak.exchange import Address
from bench.soak.fleet import Fleet
from bench.soak.judgement import Verdict
from bench.soak.kinds import World
from bench.soak.run import Plan, Result, Soak, make_world
from bench.soak.samples import Sample
from elastic_yolo.lab.processes.stack import DEMO_MODEL, ROOT
from tests.support.misbehaving import Server, reset_without_response, respond

pytestmark = pytest.mark.long

# A seed without callers that stall until a limit of 30 s.
PLAN = Plan(seconds=6, seed=2, rate=10, concurrency=32, warm_up_s=1, fault_pause_s=0)


def move_boxes(sample: Sample) -> Sample:
    """Return a sample that expects every box ten pixels further right."""
    moved = {
        query: {
            version: [(label, score, (box[0] + 10, *box[1:])) for label, score, box in detections]
            for version, detections in versions.items()
        }
        for query, versions in sample.expected.items()
    }
    return replace(sample, expected=moved)


@dataclass(frozen=True)
class Results:
    """Of four soaks against one fleet: as it is, and with a fault for the soak to find."""

    as_it_is: Result
    moved: Result
    closing: Result
    refusing: Result


async def run_all(folder: Path) -> Results:
    fleet = Fleet(folder, DEMO_MODEL)

    async def run(world: World) -> Result:
        return await Soak(PLAN, fleet, world, lambda _: None).run(asyncio.Event())

    with fleet.running():
        world = await make_world(fleet)
        async with (
            Server("127.0.0.1", reset_without_response, reads_body=False).running() as closing,
            Server("127.0.0.1", respond(503), reads_body=False).running() as refusing,
        ):
            return Results(
                as_it_is=await run(world),
                moved=await run(
                    replace(world, samples=[move_boxes(sample) for sample in world.samples])
                ),
                closing=await run(replace(world, web=Address("web", closing.port))),
                refusing=await run(replace(world, web=Address("web", refusing.port))),
            )


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return asyncio.run(run_all(tmp_path_factory.mktemp("soak")))


def test_a_soak_with_faults_passes(tmp_path: Path) -> None:
    output = tmp_path / "soak.json"
    flags = ["--seed=1", "--rate=8", "--fault-pause=0.5", f"--json={output}"]

    ended = subprocess.run(
        [sys.executable, "-m", "bench.soak", "--minutes=0.6", *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    result = json.loads(output.read_text())
    assert result["passed"]
    assert result["total"]["answered"] > 50
    assert {name for name in result["kinds"] if name.startswith("fault: ")} >= {
        "fault: kill",
        "fault: freeze",
        "fault: drain",
        "fault: switch",
    }
    assert "passed, seed 1" in ended.stdout


def test_a_soak_without_faults_passes(results: Results) -> None:
    assert results.as_it_is.passed, results.as_it_is.tally.examples


def test_boxes_that_are_elsewhere_are_wrong(results: Results) -> None:
    tally = results.moved.tally

    wrong = {kind for kind, counts in tally.counts.items() if counts[Verdict.WRONG]}
    assert wrong >= {"picture as body", "picture in form", "picture in chunks"}
    assert tally.total(Verdict.UNEXPECTED, Verdict.LOST) == 0
    assert not results.moved.passed


def test_connections_that_close_lose_answers(results: Results) -> None:
    assert results.closing.tally.total(Verdict.LOST) > 10
    assert not results.closing.passed


def test_refusals_of_whole_pictures_are_unexpected(results: Results) -> None:
    assert results.refusing.tally.total(Verdict.UNEXPECTED) > 10
    assert not results.refusing.passed
