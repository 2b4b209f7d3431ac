"""Which failures of a command that writes a store may be over when it runs again."""

from __future__ import annotations

import errno

from elastic_yolo.store.errors import StoreBusy, StoreFull

# A full disk or quota, a device or a network file system that does not respond, a resource that
# others use up. Not among them: denied, read-only, not a folder, which someone has to change.
_TEMPORARY = frozenset(
    {
        errno.ENOSPC, errno.EDQUOT,
        errno.EIO, errno.EREMOTEIO, errno.ESTALE, errno.ENOLCK, errno.ENOTCONN, errno.ETIMEDOUT,
        errno.ENETDOWN, errno.ENETUNREACH, errno.ENETRESET, errno.EHOSTDOWN, errno.EHOSTUNREACH,
        errno.ECONNABORTED, errno.ECONNREFUSED, errno.ECONNRESET,
        errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.ENOMEM, errno.ENOBUFS,
        errno.EMFILE, errno.ENFILE,
    }
)  # fmt: skip


def is_temporary(error: BaseException | None) -> bool:
    """Return whether a later run may succeed; an error is judged by its cause as well."""
    seen: set[int] = set()
    # An error that is raised from itself is its own cause.
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, StoreBusy | StoreFull) or getattr(error, "retryable", False):
            return True
        if isinstance(error, OSError) and error.errno in _TEMPORARY:
            return True
        error = error.__cause__
    return False
