"""A program that sends pictures to the web service; it imports nothing of the services."""
