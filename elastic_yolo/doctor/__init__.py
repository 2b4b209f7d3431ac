"""Why manifests will not deploy or scale, and what this machine can do."""
