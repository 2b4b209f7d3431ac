"""What every service has: settings, errors, probes, request context, telemetry, drain."""
