"""One request: its context, body, query parameters and errors."""
