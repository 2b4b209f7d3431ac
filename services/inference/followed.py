"""One channel of a store, or a folder: which version it has, and which one it does not take."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from services.common.logs import get_logger
from services.inference.loader import Loader, Reason, VersionRefused
from services.inference.model_metrics import ModelMetrics
from services.inference.place import Spot, current_version, versions_to_try
from services.inference.version import LoadedVersion
from store.errors import NotInStore, StoreError

# A process that starts while its channel points at a bad version goes back so far.
_MOST_TRIED = 3
# How often a process that starts looks whether there is a model now.
_WAIT_POLL_S = 1.0


class Followed:
    """Follows a channel from version to version. What must not serve leaves the one before."""

    def __init__(self, spot: Spot, loader: Loader, metrics: ModelMetrics) -> None:
        """Load nothing yet."""
        self.channel = "folder" if isinstance(spot, Path) else spot.channel
        self.version: LoadedVersion | None = None
        self.refusal: VersionRefused | None = None
        self._spot = spot
        self._loader = loader
        self._metrics = metrics
        self._identity: str | None = None
        self._refused_identity: str | None = None

    def start(self, wait_s: float) -> LoadedVersion:
        """Load what the channel points at, or else one of those before; raises VersionRefused.

        A process that starts must not be worse off than one that has been running. Waits so long
        for a channel that is not there yet.
        """
        try:
            tried = self._versions(wait_s)[:_MOST_TRIED]
        except StoreError as error:
            raise VersionRefused("store", str(error)) from error
        refusals = []
        for identity in tried:
            try:
                version = self._loader.load(self._spot, identity, golden_must_agree=len(tried) > 1)
            except VersionRefused as error:
                refusals.append(error)
            else:
                self._take(identity, version)
                if refusals:
                    wrong = None if refusals[0].may_pass else tried[0]
                    self.refuse(version.name, refusals[0], wrong)
                return version
        if refusals[0].reason != "golden":
            raise refusals[0]
        # Nothing better is there, and an answer that /health/status warns of is better than none.
        version = self._loader.load(self._spot, tried[0], golden_must_agree=False)
        self._take(tried[0], version)
        return version

    def follow(self, model: str, others: Sequence[Followed] = (), *, optional: bool) -> None:
        """Load what the channel points at now, unless that was done or refused already.

        A version that one of the `others` has is not loaded twice. Where `optional`, there need be
        no such channel. Takes seconds; to be called by one thread at a time.
        """
        identity = None
        try:
            identity = current_version(self._spot)
            if identity == self._identity:
                self.settle(model, but="size")
            elif self.refusal is None or identity != self._refused_identity:
                there = (one.version for one in others if one._identity == identity)  # noqa: SLF001
                self._take(identity, next(there, None) or self._load(model, identity))
                self.settle(model)
        except VersionRefused as error:
            self.refuse(model, error, None if error.may_pass else identity)
        except NotInStore as error:
            if optional:
                self.leave()
                self.settle(model)
            else:
                self.refuse(model, VersionRefused("store", str(error)))
        except StoreError as error:
            # What was refused before is no better for that.
            self.refuse(model, VersionRefused("store", str(error)), self._refused_identity)

    def look_again(self) -> None:
        """Try what was refused once more, and a folder in any case, the next time."""
        self._refused_identity = None
        self.refusal = None
        if isinstance(self._spot, Path):
            self._identity = None

    def leave(self) -> None:
        """Have no version."""
        self._identity = self.version = None

    def refuse(self, model: str, why: VersionRefused, identity: str | None = None) -> None:
        """Say, once, that a version is not taken; without `identity` it is tried again."""
        before = self.refusal
        # Without its traceback, which would keep the engine that was refused.
        self.refusal = VersionRefused(why.reason, str(why), may_pass=why.may_pass)
        self._refused_identity = identity
        if before is not None and str(before) == str(why):
            return
        self._metrics.show_refused(model, self.channel, refused=True)
        self._metrics.count_refusal(model, self.channel, why.reason)
        get_logger().error(
            "version refused",
            model=model,
            channel=self.channel,
            reason=why.reason,
            why=str(why),
            serving=None if self.version is None else self.version.version,
        )

    def settle(self, model: str, *, but: Reason | None = None) -> None:
        """Say that nothing is refused, unless it was for the reason `but`."""
        if self.refusal is not None and self.refusal.reason == but:
            return
        self.refusal = self._refused_identity = None
        self._metrics.show_refused(model, self.channel, refused=False)

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

    def _load(self, model: str, identity: str) -> LoadedVersion:
        version = self._loader.load(self._spot, identity)
        if version.name != model:
            raise VersionRefused("model", f"it is called {version.name!r} now")
        return version
