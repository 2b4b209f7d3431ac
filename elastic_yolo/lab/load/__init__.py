"""Load: when pictures are sent, the client that sends them, and how answers are checked."""
