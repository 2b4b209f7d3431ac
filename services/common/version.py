"""The version of elastic-yolo, written once for the services."""

VERSION = "0.1.0"
