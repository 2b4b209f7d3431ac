"""What a name, a file name and a digest may look like, for pydantic models."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

# It is part of addresses and of log lines.
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
# In the model's folder: a path that leads out of it could have any file hashed or sent.
FileName = Annotated[str, Field(pattern=r"^[^/\x00-\x1f.][^/\x00-\x1f]*$", max_length=255)]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
