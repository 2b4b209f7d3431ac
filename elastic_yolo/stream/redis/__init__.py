"""Redis streams as source and sink."""
