"""Object detection with Darknet YOLO weights: the library and the `elastic-yolo` command."""

__version__ = "0.1.0"
