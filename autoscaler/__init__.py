"""How many pods each tier has, and what its autoscaler wants."""
