"""The live view: all processes of the three services, as a browser shows them."""
