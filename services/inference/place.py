"""Where the model is: a folder, or what a channel of a store points at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator

from detector.model import Model, read_model
from store.errors import BadReference
from store.reader import resolve
from store.reference import SCHEME, Reference, parse_reference


def _read_place(value: Any) -> Any:
    if not isinstance(value, str) or not value.startswith(SCHEME):
        return value
    try:
        return parse_reference(value)
    except BadReference as error:
        raise ValueError(str(error)) from None


ModelPlace = Annotated[Path | Reference, BeforeValidator(_read_place)]
"""A model folder, or `store:FOLDER/NAME@CHANNEL`."""


def find_model(place: Path | Reference) -> Model:
    """Read the model at a place; one of a store has the name and version that it has there.

    Raises ModelError for what is wrong with the folder, StoreError for the store.
    """
    if isinstance(place, Path):
        return read_model(place)
    published = resolve(place)
    model = read_model(published.folder)
    return replace(model, name=place.name, version=published.record.version)
