"""The peers, and the settings of each that are tried."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from elastic_yolo.tiers import TIERS

PEERS = Path(__file__).parent


@dataclass(frozen=True)
class Setting:
    """A peer's use of the CPU."""

    workers: int
    """Processes that each have the model."""
    threads: int
    """Threads of the engine in each process."""
    streams: int
    """Concurrent pictures of the engine in each process."""

    def __str__(self) -> str:
        """Return it as the tables show it."""
        return f"{self.workers}p x {self.threads}t, {self.streams}s"


@dataclass(frozen=True)
class Peer:
    """Another way to serve the detector: a folder with server.py and requirements.txt."""

    name: str
    tiers: tuple[str, ...] = ("server",)
    """In the order of a request, each a process; all but the last have a next service."""
    processes: bool = True
    """Whether several processes can load the model."""
    streams: bool = True
    """Whether one process can handle several pictures concurrently."""
    shelf: Path = PEERS
    """The parent of its folder."""

    @property
    def folder(self) -> Path:
        """The folder of its files."""
        return self.shelf / self.name

    def settings(self, cores: int) -> list[Setting]:
        """Return the settings to try with `cores`; the first one suits a single caller."""
        single = Setting(workers=1, threads=cores, streams=1)
        tried = [single]
        if self.streams:
            tried.append(replace(single, streams=cores))
        if self.processes:
            tried.append(Setting(workers=cores, threads=1, streams=1))
            # More threads than cores, but a single request can use all cores.
            tried.append(replace(single, workers=cores))
        return tried if cores > 1 else [single]


ALL = (
    Peer("fastapi"),
    # A worker of LitServe handles one request at a time.
    Peer("litserve", streams=False),
    Peer("bentoml"),
    # Its parallel workers do not serve custom routes.
    Peer("mlserver", processes=False),
    Peer("ray"),
    Peer("tutorial", tiers=TIERS),
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
        raise ValueError(f"no peer {unknown[0]!r}; choose from {', '.join(by_name)}")
    return [by_name[name] for name in text.split(",")]
