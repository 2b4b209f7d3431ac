"""Clients of the Open Inference Protocol by others, unmodified, against a real inference process.

The programs here run in .venv-clients (`make clients`), and print what they found as JSON.
"""
