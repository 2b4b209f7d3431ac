"""Write the Python module, and its types, of inference's gRPC messages: `make proto`."""

from __future__ import annotations

import sys
from pathlib import Path

from grpc_tools import protoc

from elastic_yolo.lab.processes.stack import ROOT

SOURCE = ROOT / "services" / "inference" / "grpc" / "open_inference.proto"
GENERATED = ("open_inference_pb2.py", "open_inference_pb2.pyi")


def generate(folder: Path) -> None:
    """Write the files GENERATED into a folder; ends the program if the source has an error."""
    options = [f"--proto_path={SOURCE.parent}", f"--python_out={folder}", f"--pyi_out={folder}"]
    status = protoc.main(["protoc", *options, SOURCE.name])
    if status:
        sys.exit(status)


if __name__ == "__main__":
    generate(SOURCE.parent)
