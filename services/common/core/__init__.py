"""The core of every service: settings, app, server, connection limits, probes, error responses."""
