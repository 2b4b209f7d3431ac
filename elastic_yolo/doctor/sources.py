"""Reading manifests from files, folders, kustomizations and standard input."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from elastic_yolo.doctor.errors import KubectlFailed, NothingToRead
from elastic_yolo.doctor.finding import Place, error
from elastic_yolo.doctor.manifests import Reading, read_text

KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_SUFFIXES = (".yaml", ".yml", ".json")
_TIMEOUT_S = 120
# Installed by `make k8s-tools`.
_OWN_KUBECTL = Path(__file__).resolve().parents[2] / ".venv-k8s" / "bin" / "kubectl"
STDIN = "-"


def find_kubectl() -> list[str] | None:
    """Return the command of the first kubectl found, or None."""
    if shutil.which("kubectl"):
        return ["kubectl"]
    if _OWN_KUBECTL.is_file():
        return [str(_OWN_KUBECTL)]
    for wrapper in (["microk8s", "kubectl"], ["minikube", "kubectl", "--"]):
        if shutil.which(wrapper[0]):
            return wrapper
    return None


def read_sources(paths: Sequence[str], kubectl: Sequence[str] | None) -> Reading:
    """Read the manifests at all paths.

    Raises NothingToRead for a path without manifests, KubectlFailed if a kustomization cannot be
    rendered for want of kubectl.
    """
    reading = Reading()
    for path in paths:
        for part in _read(path, kubectl):
            reading.manifests += part.manifests
            reading.findings += part.findings
    return reading


def _read(path: str, kubectl: Sequence[str] | None) -> Iterator[Reading]:
    if path == STDIN:
        yield read_text(sys.stdin.buffer.read(), "stdin")
        return
    place = Path(path)
    if place.is_dir():
        if _is_kustomization(place):
            yield _render(place, kubectl)
            return
        for file in _files(place):
            yield read_text(file.read_bytes(), str(file))
    elif place.name in KUSTOMIZATIONS and place.is_file():
        yield from _read(str(place.parent), kubectl)
    elif place.exists():
        yield read_text(place.read_bytes(), path)
    else:
        raise NothingToRead(f"no such file or folder: {path}")


def _files(folder: Path) -> list[Path]:
    if (folder / "Chart.yaml").is_file():
        raise NothingToRead(
            f"{folder} is a Helm chart: helm template {folder} | elastic-yolo doctor -"
        )
    everything = sorted(place for place in folder.rglob("*") if not _is_hidden(place, folder))
    inside = [place for place in everything if place.is_dir() and _is_kustomization(place)]
    if inside:
        # Bases, patches and overlays together would be duplicates of the same objects.
        overlays = [place for place in inside if "overlays" in place.parts] or inside
        shown = ", ".join(map(str, overlays[:5])) + (", ..." if len(overlays) > 5 else "")
        raise NothingToRead(f"{folder} holds several kustomizations; pass one of them: {shown}")
    files = [one for one in everything if one.suffix in _SUFFIXES and one.is_file()]
    if not files:
        raise NothingToRead(f"{folder} holds no .yaml, .yml or .json")
    return files


def _is_hidden(place: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in place.relative_to(folder).parts)


def _is_kustomization(folder: Path) -> bool:
    return any((folder / name).is_file() for name in KUSTOMIZATIONS)


def _render(folder: Path, kubectl: Sequence[str] | None) -> Reading:
    if kubectl is None:
        raise KubectlFailed(
            f"{folder} is a kustomization, and kubectl is not installed: install it (here: "
            "`make k8s-tools`), or set its command with --kubectl"
        )
    try:
        done = subprocess.run(  # noqa: S603  # the user's own kubectl
            [*kubectl, "kustomize", str(folder)],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError:
        raise KubectlFailed(f"command not found: {kubectl[0]}") from None
    except subprocess.TimeoutExpired:
        raise KubectlFailed(
            f"kubectl kustomize {folder} did not finish within {_TIMEOUT_S} s"
        ) from None
    if done.returncode == 0:
        return read_text(done.stdout, str(folder), with_lines=False)
    message = " ".join(done.stderr.split()) or "no reason reported"
    refused = error(
        Place(file=str(folder)),
        f"kubectl kustomize cannot render it: {message}",
        "kubectl apply -k fails in the same way; nothing of it was examined.",
        "Correct the file or field in the message.",
    )
    return Reading(findings=[replace(refused, code="YAML06")])
