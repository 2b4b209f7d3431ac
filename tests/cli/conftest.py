"""Fixtures of the tests of commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.pictures import encode, plain


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A picture of one colour, ten times the size of the tiny network."""
    path = tmp_path / "plain.png"
    path.write_bytes(encode(plain(320, 320)))
    return path


@pytest.fixture
def wide_picture(tmp_path: Path) -> Path:
    """A picture of one colour, twice as wide as high."""
    path = tmp_path / "wide.png"
    path.write_bytes(encode(plain(640, 320)))
    return path
