"""Names and other values that come from configuration, manifests and command lines."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field

MOST_NAME = 100
NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{MOST_NAME - 1}}}")
"""The names of models, versions and channels, in every tier, in the store and in files.

They become parts of URLs, folders, log lines and labels of metrics; `+`, `:`, `@`, `=` and `,`
separate names there.
"""
NAME_RULE = (
    f"at most {MOST_NAME} letters, digits, dots, dashes and underscores, the first a letter or a "
    "digit"
)
"""What NAME accepts, in words, behind "expected"."""


def suggest_name(text: str) -> str:
    """Return a valid name that is similar to a text: `siec-100` for `siec 100%`."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    words = re.findall(r"[A-Za-z0-9._-]+", plain)
    return "-".join(words).strip("._-")[:MOST_NAME].strip("._-") or "model"


def nearest_names(
    text: str, known: Iterable[str], *, most: int = 1, similarity: float = 0.5
) -> list[str]:
    """Return up to `most` of the known names that resemble a text, best first.

    `similarity` is the least one, from 0 to 1: difflib's ratio.
    """
    # difflib compares every character with every other.
    return difflib.get_close_matches(text[:40].strip().lower(), sorted(known), most, similarity)


def _check_name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise ValueError(f"expected {NAME_RULE}, such as {suggest_name(text)}")
    return text


Name = Annotated[str, AfterValidator(_check_name)]
# A path that leaves the model folder could have any file of the machine hashed or sent.
FileName = Annotated[str, Field(pattern=r"^[^/\x00-\x1f.][^/\x00-\x1f]*$", max_length=255)]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]

Resize = Literal["letterbox", "stretch"]
"""How a picture is fitted into a network's input: docs/decisions/019-resize.md."""
RESIZES: tuple[Resize, ...] = get_args(Resize)

STORE_SCHEME = "store:"
"""Begins a reference to a model in a store: `store:/models/yolov3@stable`."""
