"""Queues in front of worker threads, and their predicted wait."""
