"""Tests of elastic_yolo/comparison."""
