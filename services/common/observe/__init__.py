"""Metrics, logs, traces, and the figures of the process."""
