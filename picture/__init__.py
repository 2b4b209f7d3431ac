"""What a picture's bytes say without being decoded. Needs the standard library only."""
