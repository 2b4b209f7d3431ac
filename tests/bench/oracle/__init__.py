"""Darknet's own C library as the oracle: what it computes is right by definition."""
