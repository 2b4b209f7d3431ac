"""Load: when requests are due, the client that sends them, and how responses are checked."""
