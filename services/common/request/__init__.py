"""One request: its context, body and errors."""
