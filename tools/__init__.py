"""What `make` runs around the services."""
