"""Processes on this machine: how the services start and stop, and the CPU and memory they use."""
