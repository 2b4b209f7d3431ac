"""Follow one channel of a store, or a folder: load its current version, or refuse it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from elastic_yolo.store.errors import NotInStore, StoreError
from elastic_yolo.store.reader import model_exists
from services.common.observe.logs import get_logger
from services.inference.versions.loaded_version import LoadedVersion
from services.inference.versions.model_metrics import ModelMetrics
from services.inference.versions.model_source import (
    ModelSource,
    current_version,
    versions_to_try,
)
from services.inference.versions.version_loader import VersionLoader, VersionRefused

# How many versions a starting process tries: the current one, then earlier ones.
_MAX_START_ATTEMPTS = 3
# Seconds between two attempts of a starting process that waits for its model.
_WAIT_POLL_S = 1.0
# A version that could not be read is loaded again at the next poll, then after 1, 3, 7, ... skipped
# polls.
_MAX_SKIPPED_POLLS = 31


@dataclass
class _RefusedVersion:
    """A refused version, and the back-off until it is loaded again."""

    identity: str
    why: VersionRefused
    _polls_to_skip: int = 0
    _skipped: int = 0

    def refuse_again(self, why: VersionRefused) -> None:
        self.why = why
        self._polls_to_skip = min(2 * self._polls_to_skip + 1, _MAX_SKIPPED_POLLS)
        self._skipped = 0

    def skips_poll(self, identity: str) -> bool:
        """Return whether this poll must not load `identity`."""
        if identity != self.identity:
            return False
        if self.why.retryable and self._skipped >= self._polls_to_skip:
            return False
        self._skipped += 1
        return True


class ChannelWatcher:
    """Keeps the version of one channel. A refused version leaves the previous one in place."""

    def __init__(self, source: ModelSource, loader: VersionLoader, metrics: ModelMetrics) -> None:
        """Load nothing yet."""
        self.channel = "folder" if isinstance(source, Path) else source.channel
        self.version: LoadedVersion | None = None
        self.refusal: VersionRefused | None = None
        self._source = source
        self._loader = loader
        self._metrics = metrics
        self._identity: str | None = None
        self._refused: _RefusedVersion | None = None
        self._store_error: str | None = None
        """Why the store could not be read at the last poll; None if it could."""

    def start(self, wait_s: float) -> LoadedVersion:
        """Load the channel's current version, or else an earlier one; raises VersionRefused.

        Earlier versions are tried so that a starting process does what a running one does: keep
        serving when the channel points at a bad version. Waits up to `wait_s` seconds for a channel
        that does not exist yet.
        """
        try:
            candidates = self._wait_for_versions(wait_s)[:_MAX_START_ATTEMPTS]
        except StoreError as error:
            raise VersionRefused("store", str(error)) from error
        version = self._load_first(candidates)
        self._metrics.record_poll(version.name, self.channel)
        return version

    def _load_first(self, candidates: Sequence[str]) -> LoadedVersion:
        refusals = []
        for identity in candidates:
            try:
                version = self._loader.load(
                    self._source, identity, golden_must_agree=len(candidates) > 1
                )
            except VersionRefused as error:
                refusals.append(error)
            else:
                self._take(identity, version)
                if refusals:
                    self._refuse(version.name, refusals[0], candidates[0])
                return version
        if refusals[0].reason != "golden":
            raise refusals[0]
        # No version passes, so this one serves anyway; /health/status and the metrics report it.
        version = self._loader.load(self._source, candidates[0], golden_must_agree=False)
        self._take(candidates[0], version)
        return version

    def poll(self, model: str, others: Sequence[ChannelWatcher] = (), *, optional: bool) -> None:
        """Load the channel's current version unless it is loaded or refused already.

        A version that one of the `others` has is not loaded twice. The channel of an `optional`
        watcher may be missing. Takes seconds; only one thread at a time may call it.
        """
        try:
            identity = current_version(self._source)
        except StoreError as error:
            if optional and isinstance(error, NotInStore) and self._channel_is_removed():
                self._log_return_of_store(model)
                self.clear()
            else:
                self._store_error = str(error)
                self._report(model, VersionRefused("store", str(error)))
        else:
            self._log_return_of_store(model)
            self._update(model, identity, others)
        self._metrics.record_poll(model, self.channel)

    def _update(self, model: str, identity: str, others: Sequence[ChannelWatcher]) -> None:
        if identity == self._identity:
            self.refusal = self._refused = None
        elif self._refused is not None and self._refused.skips_poll(identity):
            self._report(model, self._refused.why)
        else:
            loaded = (one.version for one in others if one._identity == identity)  # noqa: SLF001
            try:
                self._take(identity, next(loaded, None) or self._load(model, identity))
            except VersionRefused as error:
                self._refuse(model, error, identity)

    def retry(self) -> None:
        """Make the next poll load a refused version again, and a folder in any case."""
        self.refusal = self._refused = None
        if isinstance(self._source, Path):
            self._identity = None

    def clear(self) -> None:
        """Forget the version and any refusal."""
        self._identity = self.version = self.refusal = self._refused = None

    def _channel_is_removed(self) -> bool:
        """Return whether only the channel is missing, and not the whole store."""
        return isinstance(self._source, Path) or model_exists(self._source)

    def _refuse(self, model: str, why: VersionRefused, identity: str) -> None:
        # Without its traceback, which would keep the refused engine in memory.
        why = VersionRefused(why.reason, str(why), retryable=why.retryable)
        if self._refused is not None and self._refused.identity == identity:
            self._refused.refuse_again(why)
        else:
            self._refused = _RefusedVersion(identity, why)
        self._report(model, why)

    def _report(self, model: str, why: VersionRefused) -> None:
        before, self.refusal = self.refusal, why
        if before is None or str(before) != str(why):
            self._metrics.report_refusal(model, self.channel, why, self.version)

    def _log_return_of_store(self, model: str) -> None:
        """Log once that the store can be read again; `report_refusal` has logged that it could not.

        What the channel points at now is logged if it is another version.
        """
        if self._store_error is not None:
            serving = None if self.version is None else self.version.version
            get_logger().info(
                "store is back",
                model=model,
                channel=self.channel,
                serving=serving,
                was=self._store_error,
            )
            self._store_error = None

    def _wait_for_versions(self, wait_s: float) -> list[str]:
        until = time.monotonic() + wait_s
        while True:
            try:
                return versions_to_try(self._source)
            except NotInStore as error:
                if time.monotonic() >= until:
                    raise
                get_logger().info("waiting for the model", why=str(error))
            time.sleep(_WAIT_POLL_S)

    def _take(self, identity: str, version: LoadedVersion) -> None:
        self._identity, self.version = identity, version
        self.refusal = self._refused = None

    def _load(self, model: str, identity: str) -> LoadedVersion:
        version = self._loader.load(self._source, identity)
        if version.name != model:
            version.close()
            raise VersionRefused(
                "model", f"the model's name is now {version.name!r}, it was {model!r}"
            )
        return version
