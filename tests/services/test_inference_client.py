"""What preprocess reads from the metadata of inference."""

from __future__ import annotations

from typing import Any

import pytest

from elastic_yolo.detector.boxes import InputFormat
from services.preprocess.inference_client import ModelInfo, parse_model_info

METADATA: dict[str, Any] = {"name": "tiny", "inputs": [{"shape": [-1, 32, 64, 3]}]}


@pytest.mark.parametrize(
    ("parameters", "resize"),
    [
        ({"parameters": {"resize": "stretch"}}, "stretch"),
        ({"parameters": {"resize": "letterbox"}}, "letterbox"),
        ({"parameters": {"digest": "sha256:00"}}, "letterbox"),
        ({}, "letterbox"),
    ],
)
def test_the_input_format_is_read_from_the_metadata(
    parameters: dict[str, Any], resize: Any
) -> None:
    """An inference service of before there was a choice states no rule; it letterboxes."""
    info = parse_model_info(METADATA | parameters)

    assert info == ModelInfo("tiny", InputFormat((64, 32), resize))


@pytest.mark.parametrize("resize", ["crop", None, ["stretch"]])
def test_an_unknown_resize_rule_is_refused(resize: Any) -> None:
    """A newer inference service may have a rule that this process cannot do."""
    with pytest.raises(ValueError, match="not in tuple"):
        parse_model_info(METADATA | {"parameters": {"resize": resize}})
