"""Turns a picture's bytes into a tensor, has it inferred, and maps the boxes back."""
