"""What a service tells of itself: metrics, logs, traces, and what the process uses."""
