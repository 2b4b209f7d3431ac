"""Tests: sentences about behaviour, on real parts."""
