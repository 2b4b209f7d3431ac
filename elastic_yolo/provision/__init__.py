"""The provisioner: fills a model store, and ends."""
