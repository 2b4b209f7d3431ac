"""The containers together, with a real engine: `make e2e`."""
