"""Tests of `detector`."""
