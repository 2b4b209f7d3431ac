"""How a model in a store is named: `store:/models/yolov3@stable`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from elastic_yolo.store.errors import BadReference

SCHEME = "store:"
DEFAULT_CHANNEL = "stable"
# Names become folders, parts of addresses and labels of metrics.
WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Reference:
    """A model as a reader asks for it: what the channel points at, whichever version that is."""

    root: Path
    """The store's folder."""
    name: str
    channel: str

    def __str__(self) -> str:
        return f"{SCHEME}{self.root}/{self.name}@{self.channel}"


def parse_reference(text: str) -> Reference:
    """Read a reference; without `@channel` it is the stable one. Raises BadReference."""
    path, _, channel = text.removeprefix(SCHEME).partition("@")
    root, slash, name = path.rpartition("/")
    if not text.startswith(SCHEME) or not slash:
        raise BadReference(f"{text!r}: expected {SCHEME}/folder/name@channel")
    return Reference(Path(root or "/"), check_word(name), check_word(channel or DEFAULT_CHANNEL))


def check_word(text: str) -> str:
    """Return a name of a model, a channel or a version; raises BadReference if it cannot be one."""
    if not WORD.fullmatch(text):
        raise BadReference(
            f"{text[:100]!r}: expected at most 100 letters, digits, dots, dashes, underscores, "
            "the first a letter or a digit"
        )
    return text
