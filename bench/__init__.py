"""Benchmarks: candidates in separate processes take turns and are compared by ratios."""
