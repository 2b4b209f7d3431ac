"""The whole pipeline under load, beside a bare loop that does the same work without HTTP."""
