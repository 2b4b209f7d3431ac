"""gRPC at the inference service."""
