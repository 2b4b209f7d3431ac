"""The web service: receives pictures and returns the boxes of the objects in them."""
