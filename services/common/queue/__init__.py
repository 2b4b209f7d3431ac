"""Queues in front of worker threads, and how long a request has to wait in them."""
