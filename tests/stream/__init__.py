"""Tests of elastic_yolo.stream."""
