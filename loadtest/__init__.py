"""Makes load, and draws what it did to answers and to the number of pods."""
