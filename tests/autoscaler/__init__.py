"""Tests of `autoscaler`."""
