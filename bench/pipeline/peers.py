"""Peers: find the best settings, then let peer, bare loop and pipeline take turns."""

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
from bench.pipeline.benchmark import BenchmarkConfig, RunningProcesses
from bench.pipeline.compare import BUSY, Pairs, Result, pair, relative_to, summarise
from bench.pipeline.turns import Candidate
from elastic_yolo.lab.processes.json_process import ProcessFailed
from elastic_yolo.progress import print_status

_READY_S = 90.0
_POLL_S = 0.5
_TRIAL_S = 3.0
_NEARLY = 0.03


@dataclass(frozen=True)
class Trial:
    """The result of a setting in a short trial."""

    setting: Setting
    p50_ms: float
    images_per_s: float


def compare_peer(config: BenchmarkConfig, up: RunningProcesses, peer: Peer, logs: Path) -> Result:
    """Compare a peer with bare loop and pipeline.

    Raises NotInstalled, PeerFailed or ProcessFailed.
    """
    python = environment(peer, config.cache / "peers")
    trials = [
        _try(config, up, peer, setting, python, logs) for setting in peer.settings(config.threads)
    ]
    quickest = _best(trials, lambda trial: trial.p50_ms)
    fastest = _best(trials, lambda trial: 1 / trial.images_per_s)
    with ExitStack() as stack:
        alone = stack.enter_context(_ready(config, up, peer, quickest, python, logs))
        busy = alone
        if fastest != quickest:
            alone.pause()
            busy = stack.enter_context(_ready(config, up, peer, fastest, python, logs))
        busy.pause()
        ours, theirs = Pairs(), Pairs()
        for number in range(config.rounds):
            print_status(f"{peer.name}: round {number + 1} of {config.rounds}")
            pair(up.runner, alone, busy, config.seconds, theirs)
            ours.alone.append(up.runner.turn(up.services, 1, config.seconds))
            ours.busy.append(up.runner.turn(up.services, BUSY, config.seconds))
        result = summarise(alone, busy, theirs, busy.memory())
    return replace(result, over_pipeline=relative_to(theirs, ours))


def _best(trials: list[Trial], badness: Callable[[Trial], float]) -> Setting:
    """Return the simplest setting, which comes first, of those nearly as good as the best."""
    best = min(badness(trial) for trial in trials)
    return next(t.setting for t in trials if badness(t) <= best * (1 + _NEARLY))


def _try(
    config: BenchmarkConfig,
    up: RunningProcesses,
    peer: Peer,
    setting: Setting,
    python: Path,
    logs: Path,
) -> Trial:
    with _ready(config, up, peer, setting, python, logs) as candidate:
        # The first requests may still load code.
        up.runner.turn(candidate, BUSY, _TRIAL_S / 2)
        quick = up.runner.turn(candidate, 1, _TRIAL_S)
        busy = up.runner.turn(candidate, BUSY, _TRIAL_S)
    print_status(f"{peer.name} {setting}: p50 {quick.p50_ms:.1f} ms, {busy.images_per_s:.1f}/s")
    return Trial(setting, quick.p50_ms, busy.images_per_s)


@contextmanager
def _ready(
    config: BenchmarkConfig,
    up: RunningProcesses,
    peer: Peer,
    setting: Setting,
    python: Path,
    logs: Path,
) -> Iterator[Candidate]:
    common = Settings(
        model=str(config.model.resolve()),
        cache=str(config.cache.resolve()),
        precision=config.precision,
        threshold=up.threshold,
        port=0,
        **vars(setting),
    )
    with serving(peer, python, setting, common, logs) as candidate:
        until = time.monotonic() + _READY_S
        while True:
            try:
                up.check(candidate)
                break
            except ProcessFailed as error:
                check_alive(candidate, logs)
                if time.monotonic() > until:
                    raise PeerFailed(f"{peer.name} was not ready in time: {error}") from error
                time.sleep(_POLL_S)
        yield candidate
