"""Which versions of a model answer at a moment, and which of them answers what."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from services.common.request.errors import MalformedRequest
from services.inference.versions.version import LoadedVersion


@dataclass(frozen=True)
class Lineup:
    """The versions that are served; replaced as a whole, so that a request sees one or the next.

    `shares` are the versions with their weights, the main one first; None is a channel that cannot
    be served, whose requests the main version gets. `shadow` never answers. `leaving` was the main
    version until a moment ago and had another input size: callers who do not know yet still get
    their answers from it.
    """

    shares: tuple[tuple[LoadedVersion | None, int], ...]
    shadow: LoadedVersion | None = None
    leaving: LoadedVersion | None = None

    @property
    def main(self) -> LoadedVersion:
        """The version that /health/status and the metadata speak of."""
        main = self.shares[0][0]
        assert main is not None, "without it there is no lineup"  # noqa: S101
        return main

    @property
    def versions(self) -> list[LoadedVersion]:
        """All that may answer, each once, the main one first."""
        everyone = [version for version, _ in self.shares] + [self.leaving]
        return list(dict.fromkeys(version for version in everyone if version is not None))

    @property
    def loaded(self) -> list[LoadedVersion]:
        """All that are in memory, each once."""
        shadow = [] if self.shadow is None else [self.shadow]
        return list(dict.fromkeys([*self.versions, *shadow]))

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """The input sizes (width, height) that somebody takes, the main one first."""
        return list(dict.fromkeys(version.size for version in self.versions))

    def named(self, version: str) -> LoadedVersion | None:
        """Return the version that its owner calls so, if it may answer."""
        return next((one for one in self.versions if one.version == version), None)

    def choose(self, uid: str, size: tuple[int, int]) -> LoadedVersion:
        """Return who answers a request with pictures of a size.

        The same request id gets the same version in every process, as long as the shares are the
        same. Raises MalformedRequest for a size that nobody takes.
        """
        point = _point(uid, sum(weight for _, weight in self.shares))
        for version, weight in self.shares:
            point -= weight
            if point < 0 and version is not None and version.size == size:
                return version
            if point < 0:
                break
        fitting = next((version for version in self.versions if version.size == size), None)
        if fitting is None:
            raise MalformedRequest(f"pictures of {size[0]}x{size[1]} pixels are taken no more")
        return fitting


def _point(uid: str, total: int) -> int:
    """Return a number below `total`; ids that count up, or share a beginning, spread evenly."""
    digest = hashlib.blake2b(uid.encode(), digest_size=8).digest()
    # In proportion, not the remainder: so nobody moves when the sum of the weights is another.
    return int.from_bytes(digest) * total >> 64
