"""Tests of `elastic_yolo.lab`."""
