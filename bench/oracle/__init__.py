"""Oracles: other implementations of Darknet's networks, and networks to compare on."""
