"""A folder that is being filled as source of a stream."""
