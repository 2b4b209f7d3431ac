"""Pydantic types of values that come from configuration, manifests and command lines."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

# The name becomes part of URLs and of log lines.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
# A path that leaves the model folder could have any file of the machine hashed or sent.
FileName = Annotated[str, Field(pattern=r"^[^/\x00-\x1f.][^/\x00-\x1f]*$", max_length=255)]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]

Resize = Literal["letterbox", "stretch"]
"""How a picture is fitted into a network's input: docs/decisions/019-resize.md."""
RESIZES: tuple[Resize, ...] = get_args(Resize)

STORE_SCHEME = "store:"
"""Begins a reference to a model in a store: `store:/models/yolov3@stable`."""
