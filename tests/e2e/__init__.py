"""Tests of the containers with a real container engine: `make e2e`."""
