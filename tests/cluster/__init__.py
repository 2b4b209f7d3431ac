"""The whole deployment in a real cluster, whichever kubectl is set up for: `make cluster-test`."""
