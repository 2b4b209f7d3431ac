"""Programs of make targets."""
