"""The arithmetic of the HorizontalPodAutoscaler: no clock, no processes, no network."""
