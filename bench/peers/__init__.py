"""Other ways to serve the same detector, each in its own virtual environment."""
