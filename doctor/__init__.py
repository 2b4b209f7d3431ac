"""Why manifests will not deploy or scale, and what this machine is good for."""
