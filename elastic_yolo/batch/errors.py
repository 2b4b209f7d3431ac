"""Errors of a batch. A bad picture is none: it is a result (BadPicture).

BatchError
├── BadInput             the input is not there, is nothing that can be read, or has no pictures
├── OtherJob             the output folder belongs to another job
├── TooManyBad           more pictures are bad than --max-errors allows
└── TryAgain             running the same command again goes on where this one ended
    ├── Interrupted      SIGTERM or Ctrl-C
    ├── OutputBusy       another process writes to the output folder
    └── StorageFailed    input or output cannot be reached, or the disk is full
"""

from __future__ import annotations


class BatchError(Exception):
    """Base of all errors of a batch; the message is one line."""


class BadInput(BatchError):
    """The input cannot be read, or holds no pictures."""


class OtherJob(BatchError):
    """The output folder has results of another input, model or parameter."""


class TooManyBad(BatchError):
    """The limit of bad pictures is reached."""


class TryAgain(BatchError):
    """Running the same command again goes on where this one ended."""


class Interrupted(TryAgain):
    """A signal ended the work; what was done is written."""


class OutputBusy(TryAgain):
    """Another process writes to the output folder."""


class StorageFailed(TryAgain):
    """A file system or an object store fails in a way that may be over later."""
