"""Benchmarks: contestants in processes of their own, taking turns, compared as ratios."""
