"""Kafka topics as source and sink."""
