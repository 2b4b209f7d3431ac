"""One channel of a store, or a folder: which version it has, and which one it does not take."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from elastic_yolo.store.errors import NotInStore, StoreError
from elastic_yolo.store.reader import model_exists
from services.common.observe.logs import get_logger
from services.inference.versions.loader import Loader, VersionRefused
from services.inference.versions.model_metrics import ModelMetrics
from services.inference.versions.place import ModelSource, current_version, versions_to_try
from services.inference.versions.version import LoadedVersion

# A process that starts while its channel points at a bad version goes back so far.
_MOST_TRIED = 3
# How often a process that starts looks whether there is a model now.
_WAIT_POLL_S = 1.0
# What could not be read is loaded again at the next look, then with 1, 3, 7 ... looks between.
_MOST_SKIPPED = 31


@dataclass
class _Bad:
    """A version that is not taken, and how long it is left alone."""

    identity: str
    why: VersionRefused
    _to_skip: int = 0
    _skipped: int = 0

    def refuse_again(self, why: VersionRefused) -> None:
        self.why = why
        self._to_skip, self._skipped = min(2 * self._to_skip + 1, _MOST_SKIPPED), 0

    def is_left_alone(self, identity: str) -> bool:
        """Say whether this look is not one to load it at."""
        if identity != self.identity:
            return False
        if self.why.may_pass and self._skipped >= self._to_skip:
            return False
        self._skipped += 1
        return True


class ChannelWatcher:
    """Follows a channel from version to version. What must not serve leaves the one before."""

    def __init__(self, spot: ModelSource, loader: Loader, metrics: ModelMetrics) -> None:
        """Load nothing yet."""
        self.channel = "folder" if isinstance(spot, Path) else spot.channel
        self.version: LoadedVersion | None = None
        self.refusal: VersionRefused | None = None
        self._spot = spot
        self._loader = loader
        self._metrics = metrics
        self._identity: str | None = None
        self._bad: _Bad | None = None

    def start(self, wait_s: float) -> LoadedVersion:
        """Load what the channel points at, or else one of those before; raises VersionRefused.

        A process that starts must not be worse off than one that has been running. Waits so long
        for a channel that is not there yet.
        """
        try:
            tried = self._versions(wait_s)[:_MOST_TRIED]
        except StoreError as error:
            raise VersionRefused("store", str(error)) from error
        version = self._start(tried)
        self._metrics.note_look(version.name, self.channel)
        return version

    def _start(self, tried: Sequence[str]) -> LoadedVersion:
        refusals = []
        for identity in tried:
            try:
                version = self._loader.load(self._spot, identity, golden_must_agree=len(tried) > 1)
            except VersionRefused as error:
                refusals.append(error)
            else:
                self._take(identity, version)
                if refusals:
                    self._refuse(version.name, refusals[0], tried[0])
                return version
        if refusals[0].reason != "golden":
            raise refusals[0]
        # Nothing better is there, and an answer that /health/status warns of is better than none.
        version = self._loader.load(self._spot, tried[0], golden_must_agree=False)
        self._take(tried[0], version)
        return version

    def follow(self, model: str, others: Sequence[ChannelWatcher] = (), *, optional: bool) -> None:
        """Load what the channel points at now, unless that was done or refused already.

        A version that one of the `others` has is not loaded twice. Where `optional`, there need be
        no such channel. Takes seconds; to be called by one thread at a time.
        """
        try:
            identity = current_version(self._spot)
        except StoreError as error:
            if optional and isinstance(error, NotInStore) and self._is_gone():
                self.leave()
            else:
                self._note(model, VersionRefused("store", str(error)))
        else:
            self._follow(model, identity, others)
        self._metrics.note_look(model, self.channel)

    def _follow(self, model: str, identity: str, others: Sequence[ChannelWatcher]) -> None:
        if identity == self._identity:
            self.refusal = self._bad = None
        elif self._bad is not None and self._bad.is_left_alone(identity):
            self._note(model, self._bad.why)
        else:
            there = (one.version for one in others if one._identity == identity)  # noqa: SLF001
            try:
                self._take(identity, next(there, None) or self._load(model, identity))
            except VersionRefused as error:
                self._refuse(model, error, identity)

    def retry(self) -> None:
        """Try what was refused once more, and a folder in any case, the next time."""
        self.refusal = self._bad = None
        if isinstance(self._spot, Path):
            self._identity = None

    def leave(self) -> None:
        """Have no version, and nothing to complain about."""
        self._identity = self.version = self.refusal = self._bad = None

    def _is_gone(self) -> bool:
        """Say whether it is the channel that is not there, and not the whole store."""
        return isinstance(self._spot, Path) or model_exists(self._spot)

    def _refuse(self, model: str, why: VersionRefused, identity: str) -> None:
        # Without its traceback, which would keep the engine that was refused.
        why = VersionRefused(why.reason, str(why), may_pass=why.may_pass)
        if self._bad is not None and self._bad.identity == identity:
            self._bad.refuse_again(why)
        else:
            self._bad = _Bad(identity, why)
        self._note(model, why)

    def _note(self, model: str, why: VersionRefused) -> None:
        before, self.refusal = self.refusal, why
        if before is None or str(before) != str(why):
            self._metrics.announce_refusal(model, self.channel, why, self.version)

    def _versions(self, wait_s: float) -> list[str]:
        until = time.monotonic() + wait_s
        while True:
            try:
                return versions_to_try(self._spot)
            except NotInStore as error:
                if time.monotonic() >= until:
                    raise
                get_logger().info("waiting for the model", why=str(error))
            time.sleep(_WAIT_POLL_S)

    def _take(self, identity: str, version: LoadedVersion) -> None:
        self._identity, self.version = identity, version
        self.refusal = self._bad = None

    def _load(self, model: str, identity: str) -> LoadedVersion:
        version = self._loader.load(self._spot, identity)
        if version.name != model:
            raise VersionRefused("model", f"it is called {version.name!r} now")
        return version
