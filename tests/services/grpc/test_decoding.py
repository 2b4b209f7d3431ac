"""Any bytes as a ModelInferRequest: a right answer, or an error that says what is wrong."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.common.request.errors import ServiceError
from services.inference.elements import join_elements, split_elements
from services.inference.grpc import open_inference_pb2 as pb
from services.inference.grpc.calls import parse
from services.inference.grpc.messages import is_quick_to_parse, to_json
from services.inference.protocol import InferRequest, PictureRequest, read_request
from tests.support.grpc_service import GrpcClient, grpc_service, infer_request

PIXELS = np.zeros((1, 32, 32, 3), np.uint8)
MAX_BATCH = 4
CODES = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}


def decode(message: bytes) -> InferRequest | PictureRequest:
    request, raw = to_json(parse(pb.ModelInferRequest, message))
    return read_request(request, raw, [(32, 32)], MAX_BATCH)


def is_refused_or_fits(message: bytes) -> bool:
    """Return whether a message becomes what the metadata promise, or an error for the caller."""
    try:
        request = decode(message)
    except ServiceError:
        return True
    if isinstance(request, PictureRequest):
        return 1 <= len(request.pictures) <= MAX_BATCH
    return request.images.shape[1:] == (32, 32, 3) and 1 <= len(request.images) <= MAX_BATCH


names = (
    st.sampled_from(["images", "detections", "counts", "threshold", "iou", "resize"]) | st.text()
)
parameters = st.dictionaries(
    names,
    st.builds(pb.InferParameter)
    | st.builds(pb.InferParameter, bool_param=st.booleans())
    | st.builds(pb.InferParameter, int64_param=st.integers(-(2**63), 2**63 - 1))
    | st.builds(pb.InferParameter, double_param=st.floats())
    | st.builds(pb.InferParameter, string_param=st.text()),
    max_size=3,
)
numbers = st.lists(st.integers(0, 300), max_size=4) | st.just([7] * 3072)
contents = st.builds(pb.InferTensorContents) | st.builds(
    pb.InferTensorContents,
    uint_contents=numbers,
    fp32_contents=st.lists(st.floats(width=32), max_size=4) | st.just([7.0] * 3072),
    bytes_contents=st.lists(st.binary(max_size=20), max_size=3),
)
tensors = st.builds(
    pb.ModelInferRequest.InferInputTensor,
    name=names,
    datatype=st.sampled_from(["UINT8", "FP32", "BYTES", "INT64"]) | st.text(),
    shape=st.sampled_from([[1, 32, 32, 3], [1], [2, 1], []])
    | st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5),
    parameters=parameters,
    contents=st.none() | contents,
)
requests = st.builds(
    pb.ModelInferRequest,
    model_name=st.just("tiny") | st.text(),
    model_version=st.sampled_from(["", "1"]),
    id=st.text(),
    parameters=parameters,
    inputs=st.lists(tensors, max_size=2),
    outputs=st.lists(
        st.builds(pb.ModelInferRequest.InferRequestedOutputTensor, name=names), max_size=3
    ),
    raw_input_contents=st.lists(
        st.binary(max_size=30) | st.just(bytes(3072)) | st.just(bytes(12288)), max_size=2
    ),
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A valid request in which some bytes are others, or are missing."""
    message = bytearray(infer_request(PIXELS, outputs=["counts"]).SerializeToString())
    for _ in range(draw(st.integers(1, 4))):
        # Most of a message are pixels; what matters is in front of them.
        place = draw(st.integers(0, min(60, len(message) - 1)))
        message[place] = draw(st.integers(0, 255))
    return bytes(message[: draw(st.integers(0, len(message)))] if draw(st.booleans()) else message)


messages = st.binary(max_size=200) | damaged() | requests.map(lambda one: one.SerializeToString())


@given(message=messages)
@settings(max_examples=400)
def test_any_bytes_are_decoded_or_refused(message: bytes) -> None:
    assert is_refused_or_fits(message)


@given(message=messages)
def test_a_message_that_is_parsed_at_once_has_little_beside_raw_tensors(message: bytes) -> None:
    if is_quick_to_parse(message):
        raw = pb.ModelInferRequest()
        try:
            raw.MergeFromString(message)
        except Exception:  # noqa: BLE001  # protobuf's own; `parse` refuses it
            return
        assert len(message) - sum(map(len, raw.raw_input_contents)) < 70_000


def test_raw_tensors_are_parsed_at_once_and_numbers_are_not() -> None:
    raw = infer_request(np.zeros((16, 32, 32, 3), np.float32), outputs=["counts"])
    typed = infer_request()
    typed.inputs.add(name="images").contents.uint_contents.extend([1] * 70_000)

    assert is_quick_to_parse(raw.SerializeToString())
    assert not is_quick_to_parse(typed.SerializeToString())
    assert not is_quick_to_parse(b"\x0a\x01a" * 100), "a hundred times the name of the model"
    assert not is_quick_to_parse(b"\x08\x01"), "a number where no field is one"


@given(elements=st.lists(st.binary(max_size=300), max_size=5))
def test_elements_that_are_joined_are_split_again(elements: list[bytes]) -> None:
    assert list(split_elements(memoryview(join_elements(elements)), len(elements))) == elements


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GrpcClient]:
    with grpc_service(tmp_path_factory.mktemp("fuzz")) as (_, opened):
        yield opened


@given(message=messages)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_bytes_sent_to_the_service_get_an_answer(client: GrpcClient, message: bytes) -> None:
    assert client.send_bytes(message).code in CODES


@pytest.mark.parametrize(
    "method",
    ["ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics", "RepositoryIndex"],
)
def test_a_message_that_cannot_be_parsed_is_an_invalid_argument(
    client: GrpcClient, method: str
) -> None:
    outcome = client.send_bytes(b"\xff\xff", method)

    assert outcome.code is grpc.StatusCode.INVALID_ARGUMENT
    assert outcome.details == f"the message is no inference.{method}Request"
