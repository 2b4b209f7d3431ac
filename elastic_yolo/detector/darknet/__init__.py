"""Readers of Darknet's .cfg and .weights files, and the network that they describe."""
