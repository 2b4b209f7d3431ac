"""Tests of saliency maps."""
