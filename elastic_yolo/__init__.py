"""Object detection with Darknet's YOLO weights, in one process."""

__version__ = "0.1.0"
