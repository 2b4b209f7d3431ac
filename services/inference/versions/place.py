"""Where a model is: a folder, or the channels of a store that share its requests."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator

from elastic_yolo.detector.model import Model, read_model
from elastic_yolo.store.errors import BadReference
from elastic_yolo.store.layout import Layout
from elastic_yolo.store.reader import current_version_id, earlier_version_ids, find_version
from elastic_yolo.store.reference import SCHEME, Reference, parse_reference

SHADOW = "shadow"
_WEIGHT = re.compile(r"\d{1,4}")


@dataclass(frozen=True)
class Channels:
    """A model of a store, as `store:FOLDER/NAME@CHANNEL=WEIGHT,NAME@CHANNEL=WEIGHT` names it.

    Of all requests each channel gets its weight's part; the first one also gets those of a channel
    that cannot be served. What `shadow` points at is asked as well, and never answers.
    """

    shares: tuple[tuple[Reference, int], ...]
    shadow: Reference | None = None


def _read_place(value: Any) -> Any:
    if not isinstance(value, str) or not value.startswith(SCHEME):
        return value
    try:
        return parse_channels(value)
    except BadReference as error:
        raise ValueError(str(error)) from None


ModelSource = Path | Reference
"""What has one version at a time: a folder, or a channel of a store."""

ModelPlace = Annotated[Path | Channels, BeforeValidator(_read_place)]
"""A model folder, or channels of a store."""


def parse_channels(text: str) -> Channels:
    """Read the channels of a store's model; raises BadReference."""
    first, *others = text.split(",")
    main, weight = _parse_share(first)
    shares = [(main, 1 if weight is None else _as_number(weight, first))]
    shadow = None
    for other in others:
        reference, weight = _parse_share(f"{SCHEME}{main.root}/{other}")
        if reference.name != main.name:
            raise BadReference(f"{other!r}: only channels of {main.name} can share its requests")
        if weight != SHADOW:
            shares.append((reference, _as_number(weight, other)))
        elif shadow is not None:
            raise BadReference(f"{other!r}: only one channel can be the shadow")
        else:
            shadow = reference
    if len(shares) > 1 and "=" not in first:
        raise BadReference(f"{first!r}: several channels need a weight each, like @stable=95")
    if not any(weight for _, weight in shares):
        raise BadReference(f"{text!r}: one of the weights must be more than 0")
    named = [reference for reference, _ in shares] + ([] if shadow is None else [shadow])
    if len(set(named)) < len(named):
        raise BadReference(f"{text!r}: a channel is named twice")
    return Channels(tuple(shares), shadow)


def _parse_share(text: str) -> tuple[Reference, str | None]:
    place, equals, weight = text.partition("=")
    return parse_reference(place), weight if equals else None


def _as_number(weight: str | None, text: str) -> int:
    if weight is None or not _WEIGHT.fullmatch(weight):
        raise BadReference(f"{text!r}: expected a weight from 0 to 9999, like @next=5")
    return int(weight)


def current_version(spot: ModelSource) -> str:
    """Return what tells whether there is another version now; raises StoreError.

    A folder is what it is: nobody watches it.
    """
    return "" if isinstance(spot, Path) else current_version_id(spot)


def versions_to_try(spot: ModelSource) -> list[str]:
    """Return the version that is there and those that were before, the latest first.

    Raises StoreError.
    """
    return (
        [""] if isinstance(spot, Path) else [current_version_id(spot), *earlier_version_ids(spot)]
    )


def read_version(spot: ModelSource, identity: str) -> Model:
    """Read a version; one of a store has the name and the version that it has there.

    Raises ModelError for what is wrong with the folder, StoreError for the store.
    """
    if isinstance(spot, Path):
        return read_model(spot)
    published = find_version(Layout(spot.root), spot.name, identity)
    model = read_model(published.folder)
    return replace(model, name=spot.name, version=published.record.version)
