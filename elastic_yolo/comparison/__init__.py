"""Compares this detector's boxes with those of another implementation of the same model."""
