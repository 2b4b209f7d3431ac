"""Which failures may be over when the command runs again."""

from __future__ import annotations

import errno
import os

import pytest

from elastic_yolo.provision.errors import SourceUnavailable, WrongContent
from elastic_yolo.store.errors import NotInStore, StoreBusy, StoreDamaged, StoreFull
from elastic_yolo.store.faults import is_temporary


@pytest.mark.parametrize(
    "number",
    [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.EMFILE],
)
def test_a_fault_of_the_disk_or_the_network_is_temporary(number: int) -> None:
    error = OSError(number, os.strerror(number))

    assert is_temporary(error)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR])
def test_what_someone_has_to_change_is_not(number: int) -> None:
    assert not is_temporary(OSError(number, os.strerror(number)))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_an_error_of_the_store_is_judged_by_its_cause(number: int) -> None:
    error = StoreDamaged("a record cannot be read")
    error.__cause__ = OSError(number, os.strerror(number))

    assert is_temporary(error) == (number != errno.EACCES)


@pytest.mark.parametrize(
    ("error", "temporary"),
    [
        (StoreBusy("locked"), True),
        (StoreFull("quota"), True),
        (SourceUnavailable("503"), True),
        (NotInStore("no such model"), False),
        (WrongContent("digest"), False),
    ],
)
def test_other_errors(error: Exception, *, temporary: bool) -> None:
    error.__cause__ = error

    assert is_temporary(error) == temporary
