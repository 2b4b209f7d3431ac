"""Options that several commands share, and their types."""

from __future__ import annotations

import argparse
import errno
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from elastic_yolo.cli.errors import CommandFailed, failing_on_provision_errors
from elastic_yolo.detector.detector import Detector, available_cpus
from elastic_yolo.detector.engines.choose import (
    DEVICES,
    ENGINES,
    MOST_THREADS,
    EngineOptions,
    build_engine,
)
from elastic_yolo.detector.model import Model, read_model
from elastic_yolo.detector.precision import PRECISIONS
from elastic_yolo.names import RESIZES, STORE_SCHEME, Resize
from elastic_yolo.progress import TransferLine, print_status

if TYPE_CHECKING:
    from elastic_yolo.store.reader import Published
    from elastic_yolo.store.reference import Reference

MODEL_HELP = (
    "model folder, store:FOLDER/NAME@CHANNEL, or a name from `elastic-yolo models list`, which is "
    "pulled once"
)


def add_engine_options(
    parser: argparse.ArgumentParser, *, further: Sequence[str] = (), hint: str = ""
) -> None:
    """Add --engine, --precision, --cache, --device and --threads.

    `further` are more values of --engine, which `hint` explains in the help.
    """
    parser.add_argument(
        "--engine",
        choices=("auto", *ENGINES, *further),
        default="auto",
        help=f"engine that runs the network{hint} (default: auto)",
    )
    parser.add_argument(
        "--precision",
        choices=("auto", *PRECISIONS),
        default="auto",
        help="number format (default: auto, the fastest within the model's accuracy budget, as "
        "measured by `elastic-yolo convert` or by a running service; until then fp32)",
    )
    parser.add_argument(
        "--cache",
        type=output_folder,
        metavar="DIR",
        help="folder for compiled and converted models",
    )
    parser.add_argument(
        "--device",
        choices=("auto", *DEVICES),
        default="auto",
        help="device that runs the network (default: auto)",
    )
    add_threads_option(parser)


def add_threads_option(parser: argparse.ArgumentParser) -> None:
    """Add --threads."""
    cpus = available_cpus()
    parser.add_argument(
        "--threads",
        type=thread_count,
        default=cpus,
        help=f"threads of the engine (default: one per CPU, here {cpus})",
    )


def add_threshold_options(parser: argparse.ArgumentParser) -> None:
    """Add --threshold and --iou."""
    parser.add_argument(
        "--threshold",
        type=fraction,
        help="keep detections whose score exceeds this, 0 to 1 (default: the model's)",
    )
    parser.add_argument(
        "--iou",
        type=fraction,
        help="overlap above which NMS removes a box, 0 to 1 (default: the model's)",
    )


def add_exact_option(parser: argparse.ArgumentParser) -> None:
    """Add --exact."""
    parser.add_argument(
        "--exact",
        action="store_true",
        help="decode large JPEGs at full size, as Darknet and OpenCV do; do not round a letterbox",
    )


def add_resize_option(
    parser: argparse.ArgumentParser,
    default: str = "what model.yaml or the .cfg states, or else letterbox",
) -> None:
    """Add --resize; `default` is for the help."""
    parser.add_argument(
        "--resize",
        choices=RESIZES,
        help="how a picture is fitted into the network's input: letterbox as pjreddie's Darknet, "
        f"stretch as AlexeyAB's fork and OpenCV (default: {default})",
    )


def engine_options(parsed: argparse.Namespace) -> EngineOptions:
    """Return the engine options of a command line."""
    return EngineOptions(
        threads=parsed.threads,
        engine=parsed.engine,
        precision=parsed.precision,
        device=parsed.device,
        cache=parsed.cache,
    )


def build_detector(model: Model, parsed: argparse.Namespace) -> Detector:
    """Load a model into the engine of a command line, and print which one that is.

    Raises ModelError or EngineError.
    """
    engine, choice = build_engine(model, engine_options(parsed))
    print_status(f"{model.name} {model.version}, {choice.why}")
    return Detector(model, engine)


def fraction(text: str) -> float:
    """Parse a number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError("expected a number from 0 to 1")
    return value


def positive(text: str) -> float:
    """Return a finite number above 0."""
    with suppress(ValueError):
        if 0 < (value := float(text)) < float("inf"):
            return value
    raise argparse.ArgumentTypeError("expected a number above 0")


def count(text: str) -> int:
    """Parse an integer above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("expected an integer above 0")
    return int(text)


def thread_count(text: str) -> int:
    """Parse a number of threads."""
    if text.isdecimal() and 1 <= int(text) <= MOST_THREADS:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected an integer from 1 to {MOST_THREADS}")


def tcp_port(text: str) -> int:
    """Parse a port to listen on; 0 is any free one."""
    if text.isdecimal() and int(text) < 65536:
        return int(text)
    raise argparse.ArgumentTypeError("expected a port, 1 to 65535, or 0 for a free one")


def folder(text: str) -> Path:
    """Parse the path of a folder that exists."""
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"no such folder: {text}")
    return path


def output_folder(text: str) -> Path:
    """Parse the path of a folder to write to, which may not exist yet."""
    path = Path(text)
    if not text:
        raise argparse.ArgumentTypeError("expected the path of a folder")
    if path.exists() and not path.is_dir():
        raise argparse.ArgumentTypeError(f"not a folder: {text}")
    return path


def existing_file(text: str) -> Path:
    """Parse the path of a file that exists."""
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"no such file: {text}")
    return path


def new_file(text: str) -> Path:
    """Parse the path of a file to write, in a folder that exists."""
    path = Path(text)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"no such folder: {path.parent}")
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"is a folder: {text}")
    try:
        path.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise argparse.ArgumentTypeError(f"a loop of symbolic links: {text}") from None
    return path


def model_name(text: str) -> str:
    """Check a model argument of a command line.

    It is an existing folder, a channel of a store, or else a name of the zoo.
    """
    if not text:
        raise argparse.ArgumentTypeError("expected a model folder, or a name of the zoo")
    if text.startswith(STORE_SCHEME):
        _reference(text)
        return text
    if Path(text).is_dir():
        return text
    if Path(text).is_file():
        raise argparse.ArgumentTypeError(f"{text}: is a file: expected its folder")
    # Imported here because a folder does not need the table.
    from elastic_yolo.provision.zoo import is_zoo_name, nearest_zoo_names  # noqa: PLC0415

    if is_zoo_name(text):
        return text
    near = nearest_zoo_names(text)
    hint = f"; the nearest are {', '.join(near)}" if near else ""
    raise argparse.ArgumentTypeError(
        f"{text}: no such folder, and no such model in the zoo{hint}; "
        "`elastic-yolo models list` prints all"
    )


def model_folder(text: str) -> Path:
    """Return the folder of a model argument, as `model_name` checks it.

    Of a channel, that of the version that it points at now. A model of the zoo is pulled into the
    user's cache if it is not there. Raises argparse.ArgumentTypeError for none of these,
    CommandFailed or OSError if the store has no such channel or the model cannot be pulled.
    """
    name = model_name(text)
    if name.startswith(STORE_SCHEME):
        return _published(name).folder
    return Path(text) if Path(text).is_dir() else pull_from_zoo(text)


def chosen_model(text: str, resize: Resize | None = None) -> Model:
    """Read the model of a model argument, with name and version as the services have them.

    Raises ModelError, and what `model_folder` raises.
    """
    if not text.startswith(STORE_SCHEME):
        return read_model(model_folder(text), resize)
    published = _published(text)
    model = read_model(published.folder, resize)
    return replace(model, name=published.record.name, version=published.record.version)


def resolve_model(text: str) -> Path | str:
    """Return a value of MODEL_PATH that is valid in any folder; a model of the zoo is pulled.

    Raises ArgumentTypeError if `text` names no model, ProvisionError or OSError for a failed pull.
    """
    return absolute_path(text) if text.startswith(STORE_SCHEME) else model_folder(text).resolve()


def absolute_path(value: str) -> str:
    """Return a path, or the address of a store, that is valid in any folder; a URL stays."""
    if "://" in value:
        return value
    scheme = STORE_SCHEME if value.startswith(STORE_SCHEME) else ""
    return f"{scheme}{Path(value.removeprefix(scheme)).resolve()}"


def _reference(text: str) -> Reference:
    # Imported here because an image has only what its role needs, and a folder needs no store.
    from elastic_yolo.store.errors import BadReference  # noqa: PLC0415
    from elastic_yolo.store.reference import parse_reference  # noqa: PLC0415

    try:
        return parse_reference(text)
    except BadReference as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _published(text: str) -> Published:
    from elastic_yolo.store.errors import StoreError  # noqa: PLC0415
    from elastic_yolo.store.reader import resolve  # noqa: PLC0415

    try:
        return resolve(_reference(text))
    except StoreError as error:
        raise CommandFailed(str(error)) from error


def pull_from_zoo(name: str, *, check_digests: bool = False) -> Path:
    """Return the folder of a model of the zoo, pulled if it is not in the cache.

    With `check_digests`, also if a file there is damaged. Progress is printed on stderr. Raises
    CommandFailed or OSError.
    """
    from elastic_yolo.provision.zoo import pull  # noqa: PLC0415

    line = TransferLine()
    with failing_on_provision_errors():
        return pull(name, line, line.say, check_digests=check_digests)
