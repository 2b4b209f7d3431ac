"""The Open Inference Protocol v2 over gRPC, beside its HTTP form and behind the same queue."""
