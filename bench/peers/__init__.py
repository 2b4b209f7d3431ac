"""Other ways to serve the same detector, each in a virtual environment of its own."""
