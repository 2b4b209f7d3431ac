"""Processes on this machine: the services, what they use of it, and how they end."""
