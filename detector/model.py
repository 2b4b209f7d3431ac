"""Read a model folder: one .cfg, one .weights, one .names, optionally a model.yaml."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from detector.darknet.cfg import read_cfg
from detector.darknet.layers import Network
from detector.darknet.plan import plan_network
from detector.darknet.weights import Weights, check_weights, read_weights
from detector.errors import ModelError
from detector.manifest import GoldenStatement, Manifest, read_manifest


@dataclass(frozen=True)
class Model:
    """A model folder, read and found consistent; the weights are read when they are asked for.

    `digest` identifies cfg, weights and names together; `labels[i]` is the name of class i.
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
    golden: GoldenStatement | None

    def read_weights(self) -> Weights:
        """Read the weights; raises WeightsError if they hold values that are no numbers.

        A start that finds what was made of them in the cache, under the same digest, does without.
        """
        return read_weights(self.weights_file, self.network)


def read_model(folder: Path) -> Model:
    """Read a folder completely; raises ModelError with file, line or layer if anything is wrong."""
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such folder: expected one with .cfg, .weights and .names")
    cfg_path, weights_path, names_path = (
        _only(folder, suffix) for suffix in (".cfg", ".weights", ".names")
    )
    manifest = read_manifest(folder)
    network = plan_network(read_cfg(cfg_path))
    labels = _read_labels(names_path, network)
    # Before anything is hashed: its size alone may say that it is the wrong file.
    check_weights(weights_path, network)
    digests = {path.name: _sha256(path) for path in (cfg_path, weights_path, names_path)}
    _check_digests(folder, manifest, digests)
    return Model(
        folder=folder,
        cfg=cfg_path,
        weights_file=weights_path,
        name=manifest.name or cfg_path.stem,
        version=manifest.version,
        digest="sha256:" + hashlib.sha256("\n".join(digests.values()).encode()).hexdigest(),
        network=network,
        labels=labels,
        threshold=manifest.threshold,
        iou=manifest.iou,
        golden=manifest.golden,
    )


def _only(folder: Path, suffix: str) -> Path:
    found = sorted(folder.glob(f"*{suffix}"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise ModelError(f"{folder}: expected exactly one {suffix} file, found {names}")
    return found[0]


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error


def _check_digests(folder: Path, manifest: Manifest, found: dict[str, str]) -> None:
    for name, expected in manifest.files.items():
        actual = found.get(name)
        if actual is None:
            path = folder / name
            if not path.is_file():
                raise ModelError(f"{folder}: model.yaml names {name}, which is not there")
            actual = _sha256(path)
        if actual != expected:
            raise ModelError(f"{folder / name}: expected {expected}, found {actual}")


def _read_labels(path: Path, network: Network) -> tuple[str, ...]:
    lines = path.read_text(encoding="utf-8").splitlines()
    labels = tuple(line.strip() for line in lines if line.strip())
    if len(labels) != network.classes:
        raise ModelError(
            f"{path}: {len(labels)} labels, but {network.name}.cfg has classes={network.classes}"
        )
    return labels
