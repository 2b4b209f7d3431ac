"""The value of MODEL_PATH, and how a version is read from there.

A model comes from a folder, or from channels of a versioned on-disk model store that share its
requests.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator

from elastic_yolo.detector.model import Model, read_model
from elastic_yolo.names import STORE_SCHEME
from elastic_yolo.store.errors import BadReference
from elastic_yolo.store.layout import Layout
from elastic_yolo.store.reader import current_version_id, earlier_version_ids, find_version
from elastic_yolo.store.reference import Reference, parse_reference

SHADOW = "shadow"
_WEIGHT = re.compile(r"\d{1,4}")

ModelSource = Path | Reference
"""Where one version at a time comes from: a folder, or a channel of a store."""


@dataclass(frozen=True)
class WeightedChannels:
    """Channels of one model: `store:FOLDER/NAME@CHANNEL=WEIGHT,NAME@CHANNEL=WEIGHT`.

    Each channel gets its weight's share of the requests. The first one is the main channel: it also
    gets the share of a channel that cannot be served. The shadow's version never responds; it runs
    on copies of the requests.
    """

    weights: tuple[tuple[Reference, int], ...]
    shadow: Reference | None = None


def _read_path(value: Any) -> Any:
    if not isinstance(value, str) or not value.startswith(STORE_SCHEME):
        return value
    try:
        return parse_channels(value)
    except BadReference as error:
        raise ValueError(str(error)) from None


ModelPath = Annotated[Path | WeightedChannels, BeforeValidator(_read_path)]
"""The value of MODEL_PATH: a model folder, or channels of a store."""


def parse_channels(text: str) -> WeightedChannels:
    """Parse `store:FOLDER/NAME@CHANNEL=WEIGHT,...`; raises BadReference."""
    first, *others = text.split(",")
    main, weight = _parse_channel(first)
    weights = [(main, 1 if weight is None else _parse_weight(weight, first))]
    shadow = None
    for other in others:
        reference, weight = _parse_channel(f"{STORE_SCHEME}{main.root}/{other}")
        if reference.name != main.name:
            raise BadReference(f"{other!r}: only channels of {main.name} can share its requests")
        if weight != SHADOW:
            weights.append((reference, _parse_weight(weight, other)))
        elif shadow is not None:
            raise BadReference(f"{other!r}: only one channel can be the shadow")
        else:
            shadow = reference
    if len(weights) > 1 and "=" not in first:
        raise BadReference(f"{first!r}: several channels need a weight each, like @stable=95")
    if not any(weight for _, weight in weights):
        raise BadReference(f"{text!r}: at least one weight must be more than 0")
    named = [reference for reference, _ in weights] + ([] if shadow is None else [shadow])
    if len(set(named)) < len(named):
        raise BadReference(f"{text!r}: a channel is named twice")
    return WeightedChannels(tuple(weights), shadow)


def _parse_channel(text: str) -> tuple[Reference, str | None]:
    reference, equals, weight = text.partition("=")
    return parse_reference(reference), weight if equals else None


def _parse_weight(weight: str | None, text: str) -> int:
    if weight is None or not _WEIGHT.fullmatch(weight):
        raise BadReference(f"{text!r}: expected a weight from 0 to 9999, like @next=5")
    return int(weight)


def current_version(source: ModelSource) -> str:
    """Return the id of the current version; raises StoreError.

    A folder always has the id "": it is not polled.
    """
    return "" if isinstance(source, Path) else current_version_id(source)


def versions_to_try(source: ModelSource) -> list[str]:
    """Return the ids of the current version and of earlier ones, the latest first.

    Raises StoreError.
    """
    return (
        [""]
        if isinstance(source, Path)
        else [current_version_id(source), *earlier_version_ids(source)]
    )


def read_version(source: ModelSource, identity: str) -> Model:
    """Read a version's files; the store's record decides its name and version.

    Raises ModelError if a file is wrong, StoreError if the store cannot be read.
    """
    if isinstance(source, Path):
        return read_model(source)
    published = find_version(Layout(source.root), source.name, identity)
    model = read_model(published.folder)
    return replace(model, name=source.name, version=published.record.version)
