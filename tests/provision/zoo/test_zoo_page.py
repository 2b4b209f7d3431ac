"""docs/zoo.md has the table's current content."""

from __future__ import annotations

from elastic_yolo.provision.zoo import zoo_names
from tools.zoo_table import PAGE, page


def test_the_page_is_generated_from_the_table() -> None:
    """`make docs` writes it."""
    text = PAGE.read_text(encoding="utf-8")

    assert page(text) == text
    assert all(f"| `{name}` |" in text and f"* `{name}`: " in text for name in zoo_names())
