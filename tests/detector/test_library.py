"""The detector as a library: the examples of the docs, its types, the wheel, and no telemetry."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from elastic_yolo.detector import Detector
from elastic_yolo.detector.manifest import read_manifest
from elastic_yolo.lab.processes.stack import DEMO_MODEL, ROOT
from tests.support.examples import codes_of

# cv2.imread returns None for an unreadable file.
_FRAME = "frame: 'cv2.typing.MatLike | None'"
_TYPED = {
    "def detect(path, thresh=0.5, nms=0.5):": (
        "def detect(path: str, thresh: float = 0.5, nms: float = 0.5) "
        "-> list[dict[str, str | float]]:"
    ),
    "def detect(frame, confThreshold=0.5, nmsThreshold=0.45):": (
        f"def detect({_FRAME}, confThreshold: float = 0.5, nmsThreshold: float = 0.45) "
        "-> tuple[list[int], list[float], list[tuple[int, int, int, int]]]:"
    ),
    "def detect_image(frame, thresh=0.5, nms=0.45):": (
        f"def detect_image({_FRAME}, thresh: float = 0.5, nms: float = 0.45) "
        "-> list[tuple[str, str, tuple[float, float, float, float]]]:"
    ),
}


def code_of(page: str) -> str:
    """Return the first Python example of a page in docs/."""
    return codes_of(page)[0]


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_example_in_library_md_prints_detections() -> None:
    ended = python(code_of("library.md"))

    assert (ended.returncode, ended.stderr) == (0, "")
    assert re.match(r"[a-z ]+ 0\.\d+ \([\d.]+, [\d.]+, [\d.]+, [\d.]+\)\n", ended.stdout)


def test_the_example_of_a_video_detects_in_each_frame(tmp_path: Path) -> None:
    """A frame of the scene, a grey one, and the scene again."""
    scene = cv2.resize(cv2.imread(str(ROOT / "client/images/scene-01.jpg")), (640, 480))
    path = tmp_path / "video.avi"
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5, (640, 480))
    for frame in (scene, np.full_like(scene, 128), scene):
        video.write(frame)
    video.release()

    ended = python(codes_of("library.md")[1].replace("street.avi", str(path)))

    assert (ended.returncode, ended.stderr) == (0, "")
    detector, read = Detector.load(DEMO_MODEL), cv2.VideoCapture(str(path))
    expected = [
        [(one.label, round(one.score, 2)) for one in detector.detect(bgr=read.read()[1])]
        for _ in range(3)
    ]
    assert ended.stdout.splitlines() == [f"{i} {found}" for i, found in enumerate(expected)]
    assert [len(found) > 3 for found in expected] == [True, False, True]


def test_the_example_of_a_batch_returns_the_rows_of_each_picture() -> None:
    lines, _ = codes_of("library.md")[2].rsplit("\n    print", 1)
    ended = python(f"{lines}\n    print(len(rows), place.picture)")

    assert (ended.returncode, ended.stderr) == (0, "")
    detector = Detector.load(DEMO_MODEL)
    pictures = [ROOT / f"client/images/scene-0{number}.jpg" for number in (1, 2)]
    sizes = [cv2.imread(str(path)).shape[1::-1] for path in pictures]
    assert ended.stdout.splitlines() == [
        f"{len(detector.detect(bgr=cv2.imread(str(path)), threshold=0.5, iou=0.45))} {size}"
        for path, size in zip(pictures, sizes, strict=True)
    ]


def test_the_darknetpy_replacement_returns_the_same_dicts() -> None:
    """The corners of the golden picture's boxes; model.yaml has their centres and sizes."""
    expected = read_manifest(DEMO_MODEL).golden
    assert expected is not None
    picture = f"models/demo/{expected.picture}"
    lines, _ = code_of("from-darknetpy.md").rsplit("\n\n", 1)

    ended = python(f"{lines}\nimport json\nprint(json.dumps(detect({picture!r})))")

    assert (ended.returncode, ended.stderr) == (0, "")
    found = json.loads(ended.stdout)
    assert [one["class"] for one in found] == [label for label, _, _ in expected.expected]
    for one, (_, score, (x, y, width, height)) in zip(found, expected.expected, strict=True):
        assert one["prob"] == pytest.approx(score, abs=0.03)
        assert [one["left"], one["right"]] == pytest.approx([x - width / 2, x + width / 2], abs=1)
        assert [one["top"], one["bottom"]] == pytest.approx([y - height / 2, y + height / 2], abs=1)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the content of the wheel, built from the package alone."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    shutil.copytree(ROOT / "elastic_yolo", source / "elastic_yolo")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "wheel"]
    build = [*pip, "--no-deps", "--no-build-isolation", "--no-index", "-w", folder, source]
    subprocess.run(build, check=True, capture_output=True, timeout=110)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "installed")
    return folder / "installed"


@pytest.mark.long
def test_the_library_is_typed_for_its_users(tmp_path: Path, installed: Path) -> None:
    """The types of the public names are inferred, and the examples pass the strict mode."""
    user = tmp_path / "user.py"
    user.write_text(
        "from pathlib import Path\n"
        "from elastic_yolo.detector import Detector, EngineOptions, load_detector\n"
        "detector, choice = load_detector(Path('m'), EngineOptions(threads=2))\n"
        "reveal_type(detector.detect(b'')[0].box)\n"
        "reveal_type(Detector)\n"
        "EngineOptions(threads='2')\n"
        "detector.detect(bgr=[[1, 2, 3]])\n"
    )
    pages = ("library.md", "from-darknetpy.md", "from-opencv.md")
    examples = [code for page in pages for code in codes_of(page)]
    checked = [user.name]
    for number, example in enumerate(examples):
        name = f"example_{number}.py"
        # Functions that replace those of other libraries are shown without annotations.
        text = re.sub(r"(?m)^def .*:$", lambda found: _TYPED[found[0]], example)
        (tmp_path / name).write_text(f"{text}\n")
        checked.append(name)

    ended = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", *checked],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(installed)},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )

    assert (installed / "elastic_yolo/py.typed").exists()
    revealed, of_class, *errors = ended.stdout.splitlines()
    assert "tuple[float, float, float, float]" in revealed
    assert "detector.Detector" in of_class
    assert "Any" not in revealed + of_class
    assert '"EngineOptions" has incompatible type "str"; expected "int"' in errors[0]
    assert '"bgr" to "detect" of "Detector" has incompatible type "list[list[int]]"' in errors[1]
    assert len(errors) == 3, ended.stdout


def test_the_library_works_from_the_wheel_alone(tmp_path: Path, installed: Path) -> None:
    """The wheel has one top-level package, which needs no file of the repository."""
    folders = {path.name for path in installed.iterdir()}
    assert {name for name in folders if not name.endswith(".dist-info")} == {"elastic_yolo"}

    example = code_of("library.md")
    for folder in ("models/demo", "client/images"):
        example = example.replace(f'"{folder}', f'"{ROOT / folder}')
    ended = subprocess.run(
        [sys.executable, "-c", f"{example}\nimport elastic_yolo\nprint(elastic_yolo.__file__)"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (ended.returncode, ended.stderr) == (0, "")
    *found, file = ended.stdout.splitlines()
    assert found
    assert Path(file).is_relative_to(installed)


def test_the_detector_imports_no_web_framework() -> None:
    ended = python(
        "import sys, elastic_yolo.detector.loading\n"
        "print([name for name in ('fastapi', 'starlette', 'httpx', 'uvicorn', 'services')"
        " if name in sys.modules])"
    )

    assert ended.stdout == "[]\n"


@pytest.mark.parametrize(
    "arguments",
    [
        "detect --model models/demo client/images/scene-01.jpg --engine openvino",
        "detect --model models/demo client/images/scene-01.jpg --engine onnxruntime",
        "convert models/demo --output {tmp}/demo.xml",
    ],
)
def test_the_runtimes_send_no_telemetry(tmp_path: Path, arguments: str) -> None:
    """A runtime with telemetry writes an identity into the home directory first."""
    home = tmp_path / "home"
    home.mkdir()
    # The runtimes send nothing if the environment looks like CI.
    environment = {key: value for key, value in os.environ.items() if key != "CI"}
    environment.pop("ORT_DISABLE_TELEMETRY", None)

    ended = subprocess.run(
        [sys.executable, "-m", "elastic_yolo.cli", *arguments.format(tmp=tmp_path).split()],
        cwd=ROOT,
        env={**environment, "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (ended.returncode, ended.stderr) == (0, "")
    assert list(home.iterdir()) == []
