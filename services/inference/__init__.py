"""Runs a Darknet network on tensors and answers the Open Inference Protocol v2."""
