"""Errors of the detector.

DetectorError
├── ModelError             a file of the model folder is missing, malformed or inconsistent
│   ├── CfgError           the .cfg: file, line, expected, found
│   └── WeightsError       the .weights: file, layer, expected, found
├── EngineError            no engine can run this network on this machine
│   └── ArtefactDamaged    a cached artefact does not match its digest
└── SampleError            pictures for calibration or measurement, or their labels, are unusable
    ├── NoPictures         a folder has no usable picture
    └── PictureUnusable    one of these pictures is unusable and can be skipped
"""

from elastic_yolo.printable import escape_unprintable

# Enough for a long path and the reason; a quoted line of a file may have a million characters.
_MOST_LETTERS = 1000


class DetectorError(Exception):
    """Base of all errors that the detector raises."""


class ModelError(DetectorError):
    """A model folder or one of its files cannot be used; the message is one printable line."""

    def __init__(self, message: str) -> None:
        """Escape and shorten the message: a quoted file must not forge or flood a log."""
        super().__init__(one_line(message))


class CfgError(ModelError):
    """The .cfg file is malformed or uses an unsupported feature."""


class WeightsError(ModelError):
    """The .weights file does not fit the .cfg file."""


class EngineError(DetectorError):
    """The inference engine cannot load or run the network; the message is one printable line."""

    def __init__(self, message: str) -> None:
        """Join the lines of the message: the engines' own errors have several."""
        super().__init__(one_line(" ".join(message.split())))


def one_line(message: str) -> str:
    """Return a message that quotes a file as one printable line of bounded length."""
    # Shortened before escaping, to bound the work, and after it, because escapes are longer.
    return _shortened(escape_unprintable(_shortened(message)))


def _shortened(message: str) -> str:
    if len(message) <= _MOST_LETTERS:
        return message
    # Keeps both ends: file and line are at the start, the expected value is at the end.
    return f"{message[:600]} ... {message[-300:]}"


class ArtefactDamaged(EngineError):
    """A cached artefact is unreadable or does not match its digest; make it again."""


class SampleError(DetectorError):
    """A folder of pictures or one of its label files cannot be used."""


class NoPictures(SampleError):
    """A folder has no usable picture."""


class PictureUnusable(SampleError):
    """A picture for calibration or measurement cannot be read or decoded."""
