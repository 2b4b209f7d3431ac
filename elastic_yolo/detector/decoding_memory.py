"""A limit on the memory that pictures take while several threads decode them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition

from elastic_yolo.picture.errors import PictureTooLarge

_MEGABYTE = 1_000_000


class DecodingMemory:
    """Bytes that threads take while they decode, together at most `limit`; others wait."""

    def __init__(self, limit: int) -> None:
        """Start with nothing taken."""
        self.limit = limit
        self._taken = 0
        self._changed = Condition()

    @contextmanager
    def taken(self, size: int) -> Iterator[None]:
        """Hold `size` bytes, as soon as they are free; raises PictureTooLarge above the limit."""
        if size > self.limit:
            raise PictureTooLarge(
                f"decoding the picture takes {size / _MEGABYTE:,.0f} MB, more than the limit of "
                f"{self.limit / _MEGABYTE:,.0f} MB for all pictures together"
            )
        with self._changed:
            self._changed.wait_for(lambda: self._taken + size <= self.limit)
            self._taken += size
        try:
            yield
        finally:
            with self._changed:
                self._taken -= size
                self._changed.notify_all()
