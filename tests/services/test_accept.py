"""Which type of response an Accept header asks web for."""

from __future__ import annotations

import pytest

from services.web.routes import accepted_picture_type

BROWSERS = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", None),
        ("*/*", None),
        ("application/json", None),
        ("application/json, text/plain, */*", None),
        ("image/jpeg", "image/jpeg"),
        ("IMAGE/PNG", "image/png"),
        ("image/jpg", "image/jpeg"),
        ("application/json;q=0.5, image/x-png", "image/png"),
        ("image/*", "image/jpeg"),
        ("image/*;q=0.1", "image/jpeg"),
        ("image/webp, image/jpeg", "image/jpeg"),
        ("image/webp,image/jpeg;q=0.8", "image/jpeg"),
        ("image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", "image/jpeg"),
        ("application/json;q=0.5,image/png", "image/png"),
        ("application/json , image/png ; q=0.9", None),
        ("application/json, image/png", None),
        ("image/png, application/json", "image/png"),
        ("image/png, */*", "image/png"),
        ("*/*;q=0.5, image/png;q=0.6", "image/png"),
        ("*/*;q=0.5, image/png;q=0.4", None),
        ("image/*;q=0.5, image/png;q=0.4", "image/jpeg"),
        ("image/jpeg;q=0, image/*", "image/png"),
        ("image/jpeg;q=0, image/png;q=0", None),
        ("application/*, image/png;q=0.9", None),
        ("image/jpeg;level=1;q=0.7, application/json;q=0.6", "image/jpeg"),
        (BROWSERS + "image/apng,*/*;q=0.8", None),
        (BROWSERS + "image/png,image/svg+xml,*/*;q=0.8", None),
        ("image/webp", None),
        ("text/plain", None),
        ("application/json;q=0", None),
        ("nonsense;;=,,;q", None),
    ],
)
def test_the_type_with_the_highest_weight_is_drawn(accept: str, expected: str | None) -> None:
    """None is JSON; of equal weights the first named wins, and JSON for a browser's page."""
    assert accepted_picture_type(accept) == expected
