"""Darknet files in, boxes out: no HTTP, no settings, usable alone."""
