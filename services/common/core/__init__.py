"""What makes an app a service: start, drain, probes, limits, and how errors are answered."""
