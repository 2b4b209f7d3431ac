"""One request: its errors, identity, deadline, body, query and timings."""
