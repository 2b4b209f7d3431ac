"""Which models a client may use."""

from __future__ import annotations

import re

from services.common.request.errors import Forbidden
from services.common.request.identity import Identity

_ENSEMBLE = "ensemble:"


def choose_model(identity: Identity, wanted: str | None) -> str | None:
    """Return the model for a request that wants one, or any (None); raises Forbidden.

    A client with limited rights that names no model gets the first one that it may use.
    """
    if identity.models is None:
        return wanted
    if wanted is None:
        if not identity.models:
            raise Forbidden("this client may use no model")
        return identity.models[0]
    # Preprocess splits at a blank too: an unescaped + in a query is one.
    parts = re.split("[+ ]", wanted.removeprefix(_ENSEMBLE))
    names = parts if wanted.startswith(_ENSEMBLE) else [wanted]
    for name in names:
        if name not in identity.models:
            allowed = ", ".join(identity.models) or "none"
            raise Forbidden(
                f"this client may not use the model {name[:80]!r}: it may use {allowed}"
            )
    return wanted
