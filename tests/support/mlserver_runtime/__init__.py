"""What runs in MLServer's own environment."""
