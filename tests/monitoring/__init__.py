"""Tests of what watches the services: alerts, the dashboard, a real Prometheus."""
