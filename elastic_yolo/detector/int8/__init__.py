"""Quantisation to int8: ranges of tensors, integer weights, and the graph with both."""
