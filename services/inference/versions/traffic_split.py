"""Which versions of a model respond to requests, and how requests are split between them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from services.common.request.errors import MalformedRequest
from services.inference.protocol import InferRequest
from services.inference.versions.loaded_version import LoadedVersion


@dataclass(frozen=True)
class TrafficSplit:
    """The versions in service. Immutable: a switch replaces it between two requests.

    `weights` are the versions with their weights, the main one first. None stands for a channel
    that cannot be served; the main version gets its share. `shadow` never responds. `outgoing` is
    the previous main version if its input format was different: it still responds to callers that
    send the old format.
    """

    weights: tuple[tuple[LoadedVersion | None, int], ...]
    shadow: LoadedVersion | None = None
    outgoing: LoadedVersion | None = None

    @property
    def main(self) -> LoadedVersion:
        """The version that /health/status checks and the metadata describe."""
        main = self.weights[0][0]
        assert main is not None, "a split always has a main version"  # noqa: S101
        return main

    @property
    def versions(self) -> list[LoadedVersion]:
        """All versions that may respond, each once, the main one first."""
        candidates = [version for version, _ in self.weights] + [self.outgoing]
        return list(dict.fromkeys(version for version in candidates if version is not None))

    @property
    def loaded(self) -> list[LoadedVersion]:
        """All versions in memory, each once: those that may respond and the shadow."""
        shadow = [] if self.shadow is None else [self.shadow]
        return list(dict.fromkeys([*self.versions, *shadow]))

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """The accepted input sizes, (width, height), the main version's first."""
        return list(dict.fromkeys(version.input_format.size for version in self.versions))

    def find_version(self, name: str) -> LoadedVersion | None:
        """Return the version with that name, if it may respond."""
        return next((one for one in self.versions if one.version == name), None)

    def pick_version(self, uid: str, request: InferRequest) -> LoadedVersion:
        """Return the version for a request with pixels.

        The choice depends only on the request id and the weights, so every process makes the same.
        Raises MalformedRequest for pictures of a size or rule that no version accepts.
        """
        picked = self._draw(uid)
        if picked is not None and picked.accepts(request):
            return picked
        fitting = next((version for version in self.versions if version.accepts(request)), None)
        if fitting is None:
            formats = dict.fromkeys(str(version.input_format) for version in self.versions)
            raise MalformedRequest(
                f"pictures of {request.describe_format()} are not accepted; "
                f"send {', '.join(formats)}"
            )
        return fitting

    def pick_version_for_files(self, uid: str) -> LoadedVersion:
        """Return the version for a request with picture files, which fit every version.

        The choice is that of `pick_version`.
        """
        return self._draw(uid) or self.main

    def _draw(self, uid: str) -> LoadedVersion | None:
        """Return the version on whose weight the id falls; None for a channel without one."""
        point = _hash_point(uid, sum(weight for _, weight in self.weights))
        for version, weight in self.weights:
            point -= weight
            if point < 0:
                return version
        raise AssertionError("the point is below the sum of the weights")


def _hash_point(uid: str, total: int) -> int:
    """Return a number below `total`; ids that count up, or share a prefix, spread evenly."""
    digest = hashlib.blake2b(uid.encode(), digest_size=8).digest()
    # Scaled, not the remainder: multiplying all weights by one factor moves no id.
    return int.from_bytes(digest) * total >> 64
