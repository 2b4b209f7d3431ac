"""Tests of elastic_yolo.batch and its command."""
