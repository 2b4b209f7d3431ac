"""Generates scenes of emoji drawings and trains the small demo network on them."""
