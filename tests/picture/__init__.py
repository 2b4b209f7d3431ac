"""Tests of `picture`."""
