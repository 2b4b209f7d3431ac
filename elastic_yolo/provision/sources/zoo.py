"""Source zoo:NAME/FILE: files of a model of the zoo that this package contains."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from elastic_yolo.provision.errors import ConfigError, SourceRefused
from elastic_yolo.provision.sources.stream import ResumePoint, SourceStream, redacted
from elastic_yolo.provision.zoo.folder import folder_content
from elastic_yolo.provision.zoo.table import find_zoo_model

_ADDRESS = re.compile(r"zoo:([\w.-]+)/([\w.-]+)")


@contextmanager
def open_zoo(address: str, _start: ResumePoint) -> Iterator[SourceStream]:
    """See `stream.OpenSource`; the files are too small for resuming."""
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise ConfigError(f"{redacted(address)}: expected zoo:NAME/FILE")
    model = find_zoo_model(found[1])
    content = folder_content(model, model.weights.digest).get(found[2])
    if content is None:
        raise SourceRefused(
            f"{address}: this package has no such file; downloaded files have their own sources"
        )
    yield SourceStream(iter([content]), 0, len(content), None)
