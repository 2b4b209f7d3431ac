"""The whole deployment in the real cluster of kubectl's context: `make cluster-test`."""
