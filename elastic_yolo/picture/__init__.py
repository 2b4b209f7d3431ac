"""Picture files: reading headers without decoding, and drawing boxes."""
