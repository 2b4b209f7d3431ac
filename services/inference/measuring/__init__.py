"""Background measurement: find the fastest precision of a version while it serves."""
