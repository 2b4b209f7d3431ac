"""The provisioner: downloads models into a store, checks them, and switches channels."""
