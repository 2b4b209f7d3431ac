"""Rule-based checks of Kubernetes manifests, of a cluster, and of this machine."""
