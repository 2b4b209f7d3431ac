"""Tests of elastic_yolo.client."""
