"""The labs of docs/labs, run as a student runs them."""
