"""Which peers there are, and which of their settings are tried."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

PEERS = Path(__file__).parent


@dataclass(frozen=True)
class Setting:
    """How a peer uses the CPU."""

    workers: int
    """Processes that each have the model."""
    threads: int
    """Of the engine in each of them."""
    streams: int
    """Pictures that the engine in each of them works on at once."""

    def __str__(self) -> str:
        """Return it as the tables show it."""
        return f"{self.workers}p x {self.threads}t, {self.streams}s"


@dataclass(frozen=True)
class Peer:
    """Another way to serve the detector: a folder with server.py and requirements.txt."""

    name: str
    tiers: tuple[str, ...] = ("server",)
    """From front to back, each a process of its own; all but the last know the one behind."""
    processes: bool = True
    """Whether it can have the model in several processes."""
    streams: bool = True
    """Whether one process can work on several pictures at once."""
    shelf: Path = PEERS
    """The folder with its own."""

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return self.shelf / self.name

    def settings(self, cores: int) -> list[Setting]:
        """Return what is tried with so many cores; the first one suits a single caller."""
        single = Setting(workers=1, threads=cores, streams=1)
        tried = [single]
        if self.streams:
            tried.append(replace(single, streams=cores))
        if self.processes:
            tried.append(Setting(workers=cores, threads=1, streams=1))
            # More threads than cores, but whoever has a core for itself has all of them.
            tried.append(replace(single, workers=cores))
        return tried if cores > 1 else [single]


ALL = (
    Peer("fastapi"),
    # A worker of LitServe does one request at a time.
    Peer("litserve", streams=False),
    Peer("bentoml"),
    # Its other processes take no part in routes of one's own.
    Peer("mlserver", processes=False),
    Peer("ray"),
    Peer("tutorial", tiers=("web", "preprocess", "inference")),
)


def choose_peers(text: str) -> list[Peer]:
    """Return the peers of a list with commas, of `all`, or of `none`; raises ValueError."""
    if text == "none":
        return []
    if text == "all":
        return list(ALL)
    by_name = {peer.name: peer for peer in ALL}
    unknown = [name for name in text.split(",") if name not in by_name]
    if unknown:
        raise ValueError(f"no peer {unknown[0]!r}; there are {', '.join(by_name)}")
    return [by_name[name] for name in text.split(",")]
