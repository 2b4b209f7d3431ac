"""Engines run a network on pictures. One interface (base.py), one file for each engine."""
