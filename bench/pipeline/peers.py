"""A peer's part: find its best settings, then let it, the bare loop and the pipeline take turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench.peers.environment import environment
from bench.peers.registry import Peer, Setting
from bench.peers.serving import PeerFailed, check_alive, serving
from bench.peers.work import Settings
from bench.pipeline.compare import BUSY, Pairs, Result, over, pair, summarise
from bench.pipeline.course import Course, Ready
from bench.pipeline.turns import Contestant
from elastic_yolo.lab.processes.json_process import ProcessFailed
from elastic_yolo.progress import print_status

_READY_S = 90.0
_POLL_S = 0.5
_TRIAL_S = 3.0
_NEARLY = 0.03


@dataclass(frozen=True)
class Trial:
    """What a setting brought in a short trial."""

    setting: Setting
    p50_ms: float
    images_per_s: float


def compare_peer(course: Course, up: Ready, peer: Peer, logs: Path) -> Result:
    """Measure a peer beside bare loop and pipeline.

    Raises NotInstalled, PeerFailed or ProcessFailed.
    """
    python = environment(peer, course.cache / "peers")
    trials = [
        _try(course, up, peer, setting, python, logs) for setting in peer.settings(course.threads)
    ]
    quickest = _best(trials, lambda trial: trial.p50_ms)
    most = _best(trials, lambda trial: 1 / trial.images_per_s)
    with ExitStack() as stack:
        alone = stack.enter_context(_ready(course, up, peer, quickest, python, logs))
        busy = alone
        if most != quickest:
            alone.rest()
            busy = stack.enter_context(_ready(course, up, peer, most, python, logs))
        busy.rest()
        ours, theirs = Pairs(), Pairs()
        for number in range(course.rounds):
            print_status(f"{peer.name}: round {number + 1} of {course.rounds}")
            pair(up.track, alone, busy, course.seconds, theirs)
            ours.alone.append(up.track.turn(up.services, 1, course.seconds))
            ours.busy.append(up.track.turn(up.services, BUSY, course.seconds))
        result = summarise(alone, busy, theirs, busy.memory())
    return replace(result, over_pipeline=over(theirs, ours))


def _best(trials: list[Trial], badness: Callable[[Trial], float]) -> Setting:
    """Return the best setting; of those nearly as good, the simplest, which is first."""
    best = min(badness(trial) for trial in trials)
    return next(t.setting for t in trials if badness(t) <= best * (1 + _NEARLY))


def _try(
    course: Course, up: Ready, peer: Peer, setting: Setting, python: Path, logs: Path
) -> Trial:
    with _ready(course, up, peer, setting, python, logs) as contestant:
        # What is loaded on the first requests is no matter of settings.
        up.track.turn(contestant, BUSY, _TRIAL_S / 2)
        quick = up.track.turn(contestant, 1, _TRIAL_S)
        busy = up.track.turn(contestant, BUSY, _TRIAL_S)
    print_status(f"{peer.name} {setting}: p50 {quick.p50_ms:.1f} ms, {busy.images_per_s:.1f}/s")
    return Trial(setting, quick.p50_ms, busy.images_per_s)


@contextmanager
def _ready(
    course: Course, up: Ready, peer: Peer, setting: Setting, python: Path, logs: Path
) -> Iterator[Contestant]:
    common = Settings(
        model=str(course.model.resolve()),
        cache=str(course.cache.resolve()),
        precision=course.precision,
        threshold=up.threshold,
        port=0,
        **vars(setting),
    )
    with serving(peer, python, setting, common, logs) as contestant:
        until = time.monotonic() + _READY_S
        while True:
            try:
                up.check(contestant)
                break
            except ProcessFailed as error:
                check_alive(contestant, logs)
                if time.monotonic() > until:
                    raise PeerFailed(f"{peer.name} was not ready in time: {error}") from error
                time.sleep(_POLL_S)
        yield contestant
