"""Tests of the provisioner."""
