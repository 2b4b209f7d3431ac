"""What can be wrong with a model, an engine, or a question to them.

DetectorError
├── ModelError             a file of the model folder is missing, malformed or inconsistent
│   ├── CfgError           the .cfg: file, line, expected, found
│   └── WeightsError       the .weights: file, layer, expected, found
└── EngineError            no engine can run this network here
"""


class DetectorError(Exception):
    """Base of everything that the detector raises on purpose."""


class ModelError(DetectorError):
    """A model folder or one of its files cannot be used."""


class CfgError(ModelError):
    """The .cfg file is malformed or asks for something that is not supported."""


class WeightsError(ModelError):
    """The .weights file does not fit the .cfg file."""


class EngineError(DetectorError):
    """The inference engine cannot load or run the network."""
