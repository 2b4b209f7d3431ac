"""Health and reflection as grpcurl and load balancers use them: ADDRESS."""

from __future__ import annotations

import json
import sys

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

SERVICE = "inference.GRPCInferenceService"

if __name__ == "__main__":
    channel = grpc.insecure_channel(sys.argv[1])
    health = health_pb2_grpc.HealthStub(channel)
    described = ProtoReflectionDescriptorDatabase(channel)
    # A client that knows nothing but what reflection tells.
    service = DescriptorPool(described).FindServiceByName(SERVICE)
    method = service.methods_by_name["ServerMetadata"]
    call = channel.unary_unary(
        f"/{SERVICE}/{method.name}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    found = {
        "services": list(described.get_services()),
        "health": {
            name: health.Check(health_pb2.HealthCheckRequest(service=name)).status
            for name in ("", SERVICE)
        },
        "methods": sorted(service.methods_by_name),
        "name": call(GetMessageClass(method.input_type)()).name,
    }
    print(json.dumps(found))
