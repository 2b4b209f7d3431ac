"""The load test: its arithmetic here, and what it does to real services with `make load-tools`."""
