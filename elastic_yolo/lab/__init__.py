"""The HorizontalPodAutoscaler without a cluster: its arithmetic, a simulation, a lab."""
