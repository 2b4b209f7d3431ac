"""What can be wrong with a model, an engine, or a question to them.

DetectorError
├── ModelError             a file of the model folder is missing, malformed or inconsistent
│   ├── CfgError           the .cfg: file, line, expected, found
│   └── WeightsError       the .weights: file, layer, expected, found
├── EngineError            no engine can run this network here
│   └── ArtefactDamaged    a derived model in the cache is not what was written
└── SampleError            pictures to calibrate or measure with, or their labels, cannot be used
    └── PictureUnusable    one of the pictures: the others can do without it
"""

# Enough for a long path and what is wrong there; a quoted line may have a million letters.
_MOST_LETTERS = 1000


class DetectorError(Exception):
    """Base of everything that the detector raises on purpose."""


class ModelError(DetectorError):
    """A model folder or one of its files cannot be used; the message is one printable line."""

    def __init__(self, message: str) -> None:
        """Take a message that may quote a file: what could forge or flood a log is taken out."""
        super().__init__(_one_line(message))


class CfgError(ModelError):
    """The .cfg file is malformed or asks for something that is not supported."""


class WeightsError(ModelError):
    """The .weights file does not fit the .cfg file."""


class EngineError(DetectorError):
    """The inference engine cannot load or run the network."""


def _one_line(message: str) -> str:
    # Before, so that millions of letters are not looked at; and after, because escapes are longer.
    return _shortened(
        "".join(
            letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
            for letter in _shortened(message)
        )
    )


def _shortened(message: str) -> str:
    if len(message) <= _MOST_LETTERS:
        return message
    # File and line come first, what was expected comes last.
    return f"{message[:600]} ... {message[-300:]}"


class ArtefactDamaged(EngineError):
    """A file of the cache is not what was written: make it anew."""


class SampleError(DetectorError):
    """A folder of pictures, or a label file in it, cannot be used."""


class PictureUnusable(SampleError):
    """A picture to calibrate or measure with cannot be read or decoded."""
