"""How long the DNS of a cluster may name pods that have gone: from the Corefiles of its servers.

Sources: CoreDNS, plugins *kubernetes* (ttl) and *cache* (TTL, MINTTL, disable); kubernetes/dns,
nodelocaldns.yaml.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from elastic_yolo.doctor.manifest_set import ManifestSet
from elastic_yolo.doctor.values import text

DEFAULT_TTL_S = 5
"""The TTL of CoreDNS's records of pods if its Corefile states none; what is assumed offline."""
NOTICE_S = 2
"""For what comes on top: callers resolve once a second, and a ready pod takes a moment to DNS."""

_DOMAIN = "cluster.local"
# Defaults of the plugin *cache* for answers that have records.
_MAX_TTL_S, _MIN_TTL_S = 3600, 5
_LONGEST_S = 10**6


@dataclass(frozen=True)
class NameAge:
    """How old the addresses of pods in an answer may be, and where that is known from."""

    seconds: int
    source: str


@dataclass(frozen=True)
class Directive:
    """A line of a Corefile, or a server block: its words and what is in its braces."""

    words: tuple[str, ...]
    inside: list[Directive] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Its first word."""
        return self.words[0]

    def every(self, name: str) -> Iterator[Directive]:
        """Yield the directives of a name in its braces."""
        return (one for one in self.inside if one.name == name)


def name_age(manifests: ManifestSet) -> NameAge:
    """Return how old the addresses of a headless Service may be when a pod resolves its name."""
    corefile = _corefile(manifests, "coredns")
    local = _corefile(manifests, "node-local-dns")
    if corefile is None and local is None:
        return NameAge(DEFAULT_TTL_S, "the default of CoreDNS")
    ttl_s, cached_s = _served(corefile or "")
    if local is None:
        return NameAge(cached_s, "the Corefile of CoreDNS")
    limits = _cache_limits(_block_of(local, _DOMAIN), _DOMAIN)
    if limits is None:
        return NameAge(cached_s, "the Corefiles of CoreDNS and NodeLocal DNSCache")
    most_s, least_s = limits
    # An answer that CoreDNS has kept for nearly its whole TTL is kept for MINTTL once more.
    both_s = cached_s + least_s if cached_s else 0
    age_s = max(min(ttl_s, most_s), least_s, both_s)
    return NameAge(age_s, "the Corefiles of CoreDNS and NodeLocal DNSCache")


def parse_corefile(content: str) -> list[Directive]:
    """Return the server blocks of a Corefile; what does not belong to its syntax is ignored."""
    root = Directive(("",))
    open_blocks = [root]
    for line in content.splitlines():
        words = line.partition("#")[0].split()
        while words and words[0] == "}":
            if len(open_blocks) > 1:
                open_blocks.pop()
            words = words[1:]
        if not words:
            continue
        opens = words[-1] == "{"
        stated = tuple(words[:-1] if opens else words)
        if stated:
            open_blocks[-1].inside.append(Directive(stated))
        if opens:
            open_blocks.append(open_blocks[-1].inside[-1] if stated else root)
    return root.inside


def _corefile(manifests: ManifestSet, name: str) -> str | None:
    found = manifests.system("ConfigMap", name)
    content = "" if found is None else text(found.body, "data", "Corefile")
    return content or None


def _served(corefile: str) -> tuple[int, int]:
    """Return the TTL of CoreDNS's records of pods, and the time for which it caches them."""
    for block in parse_corefile(corefile):
        for plugin in block.every("kubernetes"):
            zones = [one for one in plugin.words[1:] if not one.endswith(".arpa")]
            stated = [_number(one.words, 1) for one in plugin.every("ttl")]
            ttl_s = next((one for one in stated if one is not None), DEFAULT_TTL_S)
            limits = _cache_limits(block, zones[0] if zones else _DOMAIN)
            return ttl_s, 0 if limits is None else max(min(ttl_s, limits[0]), limits[1])
    return DEFAULT_TTL_S, DEFAULT_TTL_S


def _cache_limits(block: Directive | None, domain: str) -> tuple[int, int] | None:
    """Return the largest and smallest TTL of a block's cache; None if a domain is not cached."""
    cache = None if block is None else next(block.every("cache"), None)
    if cache is None:
        return None
    most_s, zones = _number(cache.words, 1), cache.words[1:]
    zones = zones if most_s is None else zones[1:]
    if zones and not any(_is_within(domain, zone) for zone in zones):
        return None
    for one in cache.every("disable"):
        if one.words[1:2] == ("success",):
            off = one.words[2:]
            if not off or any(_is_within(domain, zone) for zone in off):
                return None
    least_s = None
    for one in cache.every("success"):
        most_s = most_s if (stated := _number(one.words, 2)) is None else stated
        least_s = _number(one.words, 3)
    return (
        _MAX_TTL_S if most_s is None else most_s,
        _MIN_TTL_S if least_s is None else least_s,
    )


def _block_of(corefile: str, domain: str) -> Directive | None:
    """Return the server block that answers for a domain: that of the longest zone."""
    found = [
        (len(zone), block)
        for block in parse_corefile(corefile)
        for word in block.words
        if _is_within(domain, zone := word.rstrip(",").removeprefix("dns://").partition(":")[0])
    ]
    return max(found, key=lambda one: one[0], default=(0, None))[1]


def _is_within(domain: str, zone: str) -> bool:
    name = zone.rstrip(".")
    return zone == "." or (bool(name) and (domain == name or domain.endswith(f".{name}")))


def _number(words: tuple[str, ...], place: int) -> int | None:
    word = words[place] if len(words) > place else ""
    return min(int(word), _LONGEST_S) if word.isdecimal() and len(word) < 10 else None
