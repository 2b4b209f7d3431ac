"""Tests of alerts and the dashboard, with a real Prometheus."""
