"""Tests of elastic_yolo.results."""
