"""Read a model folder: .cfg, .weights and .names or .data, optionally a model.yaml."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from elastic_yolo.detector.arguments import check_choice
from elastic_yolo.detector.boxes import Floats, InputFormat
from elastic_yolo.detector.darknet.cfg import Cfg, Section, read_cfg
from elastic_yolo.detector.darknet.layers import Network
from elastic_yolo.detector.darknet.plan import plan_network
from elastic_yolo.detector.darknet.weights import Weights, check_weights, read_weights
from elastic_yolo.detector.errors import ModelError
from elastic_yolo.detector.files import digest_of_regular, read_small, read_text
from elastic_yolo.detector.manifest import GoldenSpec, Manifest, read_manifest
from elastic_yolo.detector.model_files import TextFiles, find_model_files, find_text_files
from elastic_yolo.detector.nms import detect_in_heads
from elastic_yolo.digest import digest_of_bytes
from elastic_yolo.names import NAME, NAME_RULE, RESIZES, Resize, suggest_name

# YOLO9000's 9,418 labels take 100 kB.
_MOST_NAMES_BYTES = 2**20
# The golden picture and every further file that model.yaml lists with a digest.
_MOST_OTHER_BYTES = 2**24
# As pjreddie's Darknet.
_DEFAULT_RESIZE: Resize = "letterbox"
# Labels appear in responses, on pictures and in logs: an escape sequence in one is an attack.
# Lone surrogates are bytes of a file's name that are not UTF-8; no response can contain them.
# Control characters, separators of lines, and those that change the direction of what follows: in
# a terminal, a log or a page they change text that is not the label's.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True)
class Model:
    """A model folder, read and checked; `read_weights` reads the weights on demand.

    `digest` identifies cfg, weights and names together; `labels[i]` is the name of class i.
    `resize_stated` is whether the caller, model.yaml or the .cfg states `resize`.
    """

    folder: Path
    cfg: Path
    weights_file: Path
    name: str
    version: str
    digest: str
    network: Network
    labels: tuple[str, ...]
    threshold: float
    iou: float
    resize: Resize
    resize_stated: bool
    accuracy_budget: float
    golden: GoldenSpec | None

    @property
    def input_format(self) -> InputFormat:
        """Size of the network's input, and how a picture is fitted into it."""
        return InputFormat((self.network.input.width, self.network.input.height), self.resize)

    @property
    def cache_key(self) -> str:
        """The digest, and the resize rule unless it is the default one.

        Calibration for int8 and the accuracy report depend on how pictures are prepared.
        """
        return self.digest if self.resize == _DEFAULT_RESIZE else f"{self.digest}-{self.resize}"

    def require_name(self) -> None:
        """Raise ModelError if services cannot be asked for the model by its name."""
        if not NAME.fullmatch(self.name):
            raise ModelError(
                f"{self.cfg}: the model's name would be {self.name!r}: expected {NAME_RULE}: write "
                f"name: {suggest_name(self.name)} to a model.yaml in its folder, or rename the .cfg"
            )

    def read_weights(self) -> Weights:
        """Read the weights; raises WeightsError for values that are not finite numbers.

        A start that finds the network in the cache, under the same digest, skips this.
        """
        return read_weights(self.weights_file, self.network)


@dataclass(frozen=True)
class OutputDecoder:
    """What turns a network's outputs into detections: the model without its weights.

    `digest` identifies cfg and names; all else as in Model.
    """

    name: str
    version: str
    digest: str
    network: Network
    labels: tuple[str, ...]
    threshold: float
    iou: float
    input_format: InputFormat

    def decode(self, outputs: list[Floats], threshold: float, iou: float) -> Floats:
        """Return the detections of one picture, (k, 6) float32 in network pixels, best score first.

        `outputs` are those of the heads, in the order of the .cfg; see `decode_heads`.
        """
        return detect_in_heads(self.network, outputs, threshold, iou)


def read_output_decoder(folder: Path) -> OutputDecoder:
    """Read .cfg, .names and model.yaml of a folder; raises ModelError as `read_model` does."""
    files = find_text_files(folder)
    manifest = read_manifest(folder)
    cfg, network = _read_network(files)
    size = network.input.width, network.input.height
    resize = manifest.resize or _read_letter_box(cfg.net) or _DEFAULT_RESIZE
    return OutputDecoder(
        name=manifest.name or _printable(files.cfg.stem, files.cfg),
        version=manifest.version,
        digest=digest_of_parts(digest_of_regular(path) for path in (files.cfg, files.names)),
        network=network,
        labels=_read_labels(files.names, network),
        threshold=manifest.threshold,
        iou=manifest.iou,
        input_format=InputFormat(size, resize),
    )


def read_model(folder: Path, resize: Resize | None = None) -> Model:
    """Read and check a model folder; `resize` replaces what its files state.

    Raises ModelError with the file and its line or layer, and ValueError for another `resize`.
    """
    if resize is not None:
        check_choice("resize", resize, RESIZES)
    files = find_model_files(folder)
    cfg_path, weights_path, names_path = files.cfg, files.weights, files.names
    manifest = read_manifest(folder)
    cfg, network = _read_network(files)
    resize = resize or manifest.resize or _read_letter_box(cfg.net)
    labels = _read_labels(names_path, network)
    # Before hashing: the size alone may show that it is the wrong file.
    check_weights(weights_path, network)
    digests = {path.name: digest_of_regular(path) for path in (cfg_path, weights_path, names_path)}
    _check_others(folder, manifest, digests)
    return Model(
        folder=folder,
        cfg=cfg_path,
        weights_file=weights_path,
        name=manifest.name or _printable(cfg_path.stem, cfg_path),
        version=manifest.version,
        digest=digest_of_parts(digests.values()),
        network=network,
        labels=labels,
        threshold=manifest.threshold,
        iou=manifest.iou,
        resize=resize or _DEFAULT_RESIZE,
        resize_stated=resize is not None,
        accuracy_budget=manifest.accuracy_budget,
        golden=manifest.golden,
    )


def _read_network(files: TextFiles) -> tuple[Cfg, Network]:
    """Return a .cfg and the network that it describes, checked against the .data file."""
    cfg = read_cfg(files.cfg)
    network = plan_network(cfg)
    if files.data is not None:
        files.data.check_classes(network.classes, files.cfg.name)
    return cfg, network


def digest_of_parts(digests: Iterable[str]) -> str:
    """Return a model's digest from those of its .cfg, .weights and .names, in this order."""
    return digest_of_bytes("\n".join(digests).encode())


def _read_letter_box(net: Section) -> Resize | None:
    """Return what [net] states by `letter_box`, or None.

    AlexeyAB's fork trains on letterboxed pictures with 1 and on stretched ones with 0
    (`src/parser.c`, parse_net_options).
    """
    if not net.text("letter_box", ""):
        return None
    return "letterbox" if net.integer("letter_box", 0) else "stretch"


def _check_others(folder: Path, manifest: Manifest, found: dict[str, str]) -> None:
    """Check files against the digests in model.yaml, and that the golden picture exists."""
    for name, expected in manifest.files.items():
        actual = found.get(name) or digest_of_regular(_named(folder, name), _MOST_OTHER_BYTES)
        if actual != expected:
            raise ModelError(f"{folder / name}: expected {expected}, found {actual}")
    if manifest.golden is not None:
        read_small(_named(folder, manifest.golden.picture), _MOST_OTHER_BYTES)


def _named(folder: Path, name: str) -> Path:
    path = folder / name
    if not os.path.lexists(path):
        raise ModelError(f"{folder}: model.yaml names {name}, which does not exist")
    return path


def _read_labels(path: Path, network: Network) -> tuple[str, ...]:
    text = read_text(path, _MOST_NAMES_BYTES)
    # As fgetl of Darknet's `src/utils.c`; only a file without a line feed is an old Macintosh's.
    lines = text.split("\n" if "\n" in text else "\r")
    labels = tuple(line.strip() for line in lines if line.strip())
    if len(labels) != network.classes:
        raise ModelError(
            f"{path}: {len(labels)} labels, but {network.name}.cfg has classes={network.classes}"
        )
    return tuple(_printable(label, path) for label in labels)


def _printable(text: str, path: Path) -> str:
    if _CONTROL.search(text) or len(text) > 200:
        raise ModelError(f"{path}: {text!r}: expected at most 200 printable characters")
    return text
