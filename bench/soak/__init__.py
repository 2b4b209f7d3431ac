"""A soak: mixed requests and faults for minutes or hours, and what must not change: `make soak`."""
