"""Explanations: saliency maps of one detection, made of many predictions."""
