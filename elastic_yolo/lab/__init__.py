"""The lab: autoscalers without a cluster, load, processes, and engines side by side."""
