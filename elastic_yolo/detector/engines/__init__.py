"""Engines run a network on pictures: one interface (base.py) and one module for each engine."""
