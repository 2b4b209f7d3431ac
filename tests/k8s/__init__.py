"""The Kubernetes manifests, rendered and looked over without a cluster."""
