"""Which consumer of a folder works on which picture: claims, and those of consumers that died.

    FOLDER/.claimed/CONSUMER/.heartbeat       touched while the consumer lives
    FOLDER/.claimed/CONSUMER/2-17-NAME        a picture that was delivered twice so far; it is the
                                              17th claim of this consumer

A claim is a rename, which only one consumer can win, on NFS as well. Times are compared with each
other as the file server sets them: the clocks of the machines do not matter.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

CLAIMED = ".claimed"
_HEARTBEAT = ".heartbeat"
_NAME = re.compile(r"(?P<deliveries>\d+)-\d+-(?P<name>.+)", re.DOTALL)
_BEAT_ATTEMPTS = 3


@dataclass(frozen=True)
class Claim:
    """A picture that this consumer works on: its file, its name in the folder, its deliveries."""

    path: Path
    name: str
    deliveries: int


class Claims:
    """The claims of one consumer, and those that it takes from dead ones; for several threads."""

    def __init__(self, folder: Path, consumer: str, claim_after_s: float) -> None:
        """Make the consumer's folder; raises OSError."""
        self._folder = folder
        self._all = folder / CLAIMED
        self._own = self._all / consumer
        self._claim_after_s = claim_after_s
        self._lock = Lock()
        self._live: set[Path] = set()
        self._number = 0
        self.beat()

    def beat(self) -> None:
        """Show that the consumer lives; raises OSError."""
        for attempt in range(_BEAT_ATTEMPTS):
            # A consumer that was paused for long finds its folder removed.
            self._own.mkdir(parents=True, exist_ok=True)
            try:
                (self._own / _HEARTBEAT).touch()
            except FileNotFoundError:
                # Another consumer took the empty folder for one of the dead.
                if attempt == _BEAT_ATTEMPTS - 1:
                    raise
            else:
                return

    def claim(self, name: str) -> Claim | None:
        """Claim a waiting picture; returns None if another consumer was faster. Raises OSError."""
        return self._take(self._folder / name, name, 1)

    def take_over(self) -> Claim | None:
        """Claim a picture of a consumer that is dead, or None; raises OSError.

        Also one of this consumer's own that it does not know: NFS can perform a rename and report
        that it failed.
        """
        now = _modified(self._own / _HEARTBEAT)
        for consumer in _entries(self._all):
            if consumer != self._own and now is not None and self._lives(consumer, now):
                continue
            for path in _entries(consumer):
                if (found := _NAME.fullmatch(path.name)) and not self._is_live(path):
                    claim = self._take(path, found["name"], int(found["deliveries"]) + 1)
                    if claim:
                        return claim
            if consumer != self._own:
                _remove(consumer)
        return None

    def end(self, claim: Claim, target: Path) -> bool:
        """Move a claimed picture; returns False if another consumer took it over meanwhile.

        Raises OSError.
        """
        try:
            claim.path.replace(target)
        except FileNotFoundError:
            moved = False
        else:
            moved = True
        self.forget(claim)
        return moved

    def forget(self, claim: Claim) -> None:
        """Let go of a claim: `take_over` finds it again."""
        with self._lock:
            self._live.discard(claim.path)

    def count(self) -> int:
        """Return the number of claimed pictures, of all consumers; raises OSError."""
        return sum(
            1
            for consumer in _entries(self._all)
            for path in _entries(consumer)
            if _NAME.fullmatch(path.name)
        )

    def close(self) -> None:
        """Leave the claims to other consumers, as if these deliveries had not been.

        Raises OSError.
        """
        for path in _entries(self._own):
            if found := _NAME.fullmatch(path.name):
                fewer = max(0, int(found["deliveries"]) - 1)
                self._take(path, found["name"], fewer)
        _remove(self._own)

    def _take(self, path: Path, name: str, deliveries: int) -> Claim | None:
        with self._lock:
            self._number += 1
            # No rename ever meets an existing file, which it would replace.
            target = self._own / f"{deliveries}-{self._number}-{name}"
            try:
                path.rename(target)
            except FileNotFoundError:
                return None
            self._live.add(target)
        return Claim(target, name, deliveries)

    def _is_live(self, path: Path) -> bool:
        with self._lock:
            return path in self._live

    def _lives(self, consumer: Path, now: float) -> bool:
        beat = _modified(consumer / _HEARTBEAT)
        return beat is not None and now - beat <= self._claim_after_s


def _modified(path: Path) -> float | None:
    """Return a file's modification time; it is opened because NFS caches that of others."""
    try:
        with path.open("rb") as file:
            return os.fstat(file.fileno()).st_mtime
    except FileNotFoundError:
        return None


def _entries(folder: Path) -> Iterator[Path]:
    try:
        yield from sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return


def _remove(consumer: Path) -> None:
    """Remove the folder of a consumer that has no claims any more."""
    (consumer / _HEARTBEAT).unlink(missing_ok=True)
    try:
        consumer.rmdir()
    except OSError:
        # It has claims again, or another consumer removed it.
        return
