"""Limits: how many pictures each client may send."""
