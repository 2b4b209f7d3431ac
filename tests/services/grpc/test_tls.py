"""gRPC with the certificates of the other tiers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from elastic_yolo.lab.processes.stack import free_port
from services.inference.grpc import open_inference_pb2 as pb
from tests.support.certificates import Authority, MountedPair
from tests.support.tiny import write_tiny_model
from tests.support.tls_services import TlsService
from tests.support.waiting import wait_until

LIVE = "/inference.GRPCInferenceService/ServerLive"


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
def pair(authority: Authority, tmp_path: Path) -> MountedPair:
    return authority.write_pair(tmp_path / "pair", ["localhost"])


@pytest.fixture
def place(pair: MountedPair, tmp_path: Path) -> Iterator[str]:
    """Run inference with mutual TLS; return host and port of gRPC."""
    port = free_port()
    env = {
        **pair.env,
        "MODEL_PATH": str(write_tiny_model(tmp_path / "model")),
        "GRPC_PORT": str(port),
    }
    with TlsService("inference", free_port(), env, tmp_path / "log") as service:
        service.wait_ready()
        yield f"localhost:{port}"


def ask(place: str, credentials: grpc.ChannelCredentials | None) -> grpc.StatusCode | bool:
    """Return what ServerLive says, or the status with which it fails."""
    channel = (
        grpc.insecure_channel(place)
        if credentials is None
        else grpc.secure_channel(place, credentials)
    )
    with channel:
        call = channel.unary_unary(
            LIVE,
            request_serializer=pb.ServerLiveRequest.SerializeToString,
            response_deserializer=pb.ServerLiveResponse.FromString,
        )
        try:
            return bool(call(pb.ServerLiveRequest(), timeout=20).live)
        except grpc.RpcError as error:
            found: grpc.StatusCode = error.code()
            return found


def credentials(pair: MountedPair, ca: MountedPair | None = None) -> grpc.ChannelCredentials:
    """Return those of a caller with a certificate, which trusts the CA of `ca`, or of its own."""
    read = {name: (pair.folder / name).read_bytes() for name in ("tls.key", "tls.crt")}
    trusted = ((ca or pair).folder / "ca.crt").read_bytes()
    return grpc.ssl_channel_credentials(trusted, read["tls.key"], read["tls.crt"])


def test_only_a_caller_with_a_certificate_of_the_ca_is_served(
    place: str, pair: MountedPair, tmp_path: Path
) -> None:
    stranger = Authority("stranger").write_pair(tmp_path / "stranger", ["localhost"])
    nobody = grpc.ssl_channel_credentials((pair.folder / "ca.crt").read_bytes())

    assert ask(place, credentials(pair)) is True
    for refused in (None, nobody, credentials(stranger, ca=pair)):
        assert ask(place, refused) is grpc.StatusCode.UNAVAILABLE


def test_a_renewed_certificate_is_used_without_a_restart(
    place: str, authority: Authority, pair: MountedPair, tmp_path: Path
) -> None:
    """The new one is of another CA, so the old CA's callers are refused from then on."""
    old = authority.write_pair(tmp_path / "old", ["localhost"])
    assert ask(place, credentials(old)) is True

    Authority("next").write_pair(pair.folder, ["localhost"])

    wait_until(lambda: ask(place, credentials(pair)) is True, "the new certificate is used", 60)
    assert ask(place, credentials(old)) is grpc.StatusCode.UNAVAILABLE
