"""Fuzz every target and report findings: `python -m tests.fuzz --seconds 60`."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.targets import ROOT, TARGETS, Target

# Kept between runs: the corpus (inputs that increased coverage) and findings.
WORK = ROOT / ".cache" / "fuzz"


@dataclass(frozen=True)
class Outcome:
    """The run of one target."""

    name: str
    seconds: float
    executions: int
    branches: int
    finding: str | None


def main() -> int:
    """Run the targets one after the other; the exit code is 1 if there is a finding."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("targets", nargs="*", default=[], help=", ".join(TARGETS))
    parsed = parser.parse_args()
    # In memory if possible, because every input is written to a file.
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=memory) as scratch:
        tempfile.tempdir = scratch
        outcomes = [fuzz(name, parsed.seconds) for name in parsed.targets or TARGETS]
    print(f"\n{'target':<10}{'executions':>12}{'seconds':>9}{'branches':>10}  finding")
    for outcome in outcomes:
        print(
            f"{outcome.name:<10}{outcome.executions:>12,}{outcome.seconds:>9.0f}"
            f"{outcome.branches:>10,}  {outcome.finding or 'none'}"
        )
    return any(outcome.finding for outcome in outcomes)


def fuzz(name: str, seconds: int) -> Outcome:
    """Fuzz one target in a child process."""
    target, folder = TARGETS[name], WORK / name
    corpus = write_seeds(target, folder)
    words = folder / "words"
    # libFuzzer refuses an empty list.
    lines = [f'"{_escaped(word)}"\n' for word in target.words or ("\x00",)]
    words.write_text("".join(lines), encoding="ascii")
    start = time.monotonic()
    print(f"{name}: {seconds} s ...", flush=True)
    with (folder / "log").open("w+", encoding="utf-8", errors="replace") as log:
        ended = subprocess.run(
            [
                sys.executable, "-m", "tests.fuzz.run", name,
                f"-max_total_time={seconds}", f"-max_len={target.longest}", f"-dict={words}",
                f"-artifact_prefix={folder}/finding-", "-timeout=2", "-print_final_stats=1", corpus,
            ],
            cwd=ROOT, env={**os.environ, "TMPDIR": tempfile.gettempdir()},
            stdout=log, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        log.seek(0)
        text = log.read()
    counts = re.findall(r"number_of_executed_units: (\d+)", text)
    branches = re.findall(r"cov: (\d+)", text)
    return Outcome(
        name=name,
        seconds=time.monotonic() - start,
        executions=int(counts[-1]) if counts else 0,
        branches=int(branches[-1]) if branches else 0,
        finding=_finding(text, folder) if ended.returncode else None,
    )


def write_seeds(target: Target, folder: Path) -> Path:
    """Write a target's seeds to its corpus and return the corpus folder."""
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    return corpus


def _finding(text: str, folder: Path) -> str:
    """Return the exception or libFuzzer's message, and the path of the input."""
    exception = r"^(?:[\w.]*(?:Error|Exception|Iteration)\b.*|.*ERROR: libFuzzer.*)$"
    said = re.findall(exception, text, re.MULTILINE)
    written = re.findall(r"Test unit written to (\S+)", text)
    where = written[-1] if written else folder / "log"
    return f"{said[0] if said else 'ended without a word'} ({where})"


def _escaped(word: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word.encode())


if __name__ == "__main__":
    sys.exit(main())
