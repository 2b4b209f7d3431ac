"""The command line arguments, validated before anything is sent."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import httpx

IMAGES = Path(__file__).resolve().parent / "images"
TOKEN = "ELASTIC_YOLO_TOKEN"  # noqa: S105  # a variable's name


def parse_arguments() -> argparse.Namespace:
    """Return the arguments; invalid ones exit with status 2 and a line that says why."""
    parser = argparse.ArgumentParser(
        prog="client.py", description="Send pictures to the web service and print the detections."
    )
    parser.add_argument(
        "--url", type=_url, default="http://127.0.0.1:5000", help="web service (%(default)s)"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--image", type=_file, help="send this picture, not a random one")
    parser.add_argument(
        "--pictures",
        type=_folder,
        default=IMAGES,
        metavar="DIR",
        help="folder of the pictures, and of their ground truth in truth.json (client/images; "
        "client/photos suits models trained on COCO)",
    )
    which.add_argument("--all", action="store_true", help="send every picture once, in order")
    parser.add_argument(
        "--count", type=_count, default=1, help="number of pictures; 0: until Ctrl-C (%(default)s)"
    )
    parser.add_argument(
        "--rate",
        type=_positive,
        help="pictures per second, whether or not earlier responses have come",
    )
    parser.add_argument(
        "--save",
        type=Path,
        metavar="DIR",
        help="write the pictures with boxes here (sends each twice)",
    )
    parser.add_argument(
        "--wait", type=float, default=0, metavar="SECONDS", help="wait until the service is ready"
    )
    parser.add_argument(
        "--timeout", type=_positive, default=60, metavar="SECONDS", help="(%(default)s)"
    )
    parser.add_argument(
        "--retries",
        type=_count,
        default=3,
        metavar="COUNT",
        help="retries of a picture when the service is busy and sends Retry-After (%(default)s)",
    )
    parser.add_argument(
        "--raw",
        action="store_true",
        help="print the responses as they came, Response: b'...', and nothing else",
    )
    parser.epilog = f"{TOKEN} in the environment is sent as the bearer token."
    return parser.parse_args()


def token_header() -> dict[str, str]:
    """Return the Authorization header with the token of the environment, if there is one.

    It is not an argument: all users of a machine can see those.
    """
    token = os.environ.get(TOKEN)
    return {"Authorization": f"Bearer {token}"} if token else {}


def _url(text: str) -> str:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise argparse.ArgumentTypeError(f"{text}: {error}") from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise argparse.ArgumentTypeError(f"expected http://HOST:PORT, not {text}")
    if url.path.rstrip("/").endswith("/inference"):
        raise argparse.ArgumentTypeError(f"expected the address without /inference, not {text}")
    return text


def _file(text: str) -> Path:
    path = Path(text)
    try:
        if not path.is_file():
            raise argparse.ArgumentTypeError(f"no such file: {text}")
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot read {text}: {error.strerror}") from error
    return path


def _folder(text: str) -> Path:
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"no such folder: {text}")
    return path.resolve()


def _count(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError("expected a whole number, 0 or more")
    return int(text)


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError("expected a number above 0")
    return number
