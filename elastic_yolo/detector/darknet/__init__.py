"""What Darknet's own files say: .cfg, .weights and the network that they describe."""
