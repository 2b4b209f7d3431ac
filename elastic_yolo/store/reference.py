"""References to a model in a store, such as `store:/models/yolov3@stable`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from elastic_yolo.names import NAME, NAME_RULE, STORE_SCHEME
from elastic_yolo.store.errors import BadReference

DEFAULT_CHANNEL = "stable"


@dataclass(frozen=True)
class Reference:
    """A channel of a model in a store; it refers to the version that the channel points at."""

    root: Path
    """The store's folder."""
    name: str
    channel: str

    def __str__(self) -> str:
        return f"{STORE_SCHEME}{self.root}/{self.name}@{self.channel}"


def parse_reference(text: str) -> Reference:
    """Parse a reference; the default channel is `stable`. Raises BadReference."""
    path, _, channel = text.removeprefix(STORE_SCHEME).partition("@")
    root, slash, name = path.rpartition("/")
    if not text.startswith(STORE_SCHEME) or not slash:
        raise BadReference(f"{text!r}: expected {STORE_SCHEME}/folder/name@channel")
    return Reference(Path(root or "/"), check_word(name), check_word(channel or DEFAULT_CHANNEL))


def check_word(text: str) -> str:
    """Return the name of a model, channel or version; raises BadReference if it is invalid."""
    if not NAME.fullmatch(text):
        raise BadReference(f"{text[:100]!r}: expected {NAME_RULE}")
    return text
