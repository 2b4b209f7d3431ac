"""Tests of quantisation to int8."""
