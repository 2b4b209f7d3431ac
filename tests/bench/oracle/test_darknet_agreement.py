"""Compare raw head inputs, letterbox and boxes with Darknet's.

The oracle is Debian's package darknet: its C library, .cfg files and pictures. Its networks get
random weights, because trained ones cannot be distributed; the embedded model has its own. Networks
that take seconds in Darknet are in `make test-all` only.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from bench.oracle.compare import distance
from bench.oracle.networks import write_cfg
from bench.oracle.random_weights import SEED, write_random_weights
from elastic_yolo.detector.boxes import CLASS, SCORE, Floats, InputFormat, Pixels, centre_boxes
from elastic_yolo.detector.darknet.cfg import read_cfg
from elastic_yolo.detector.darknet.layers import Network
from elastic_yolo.detector.darknet.plan import plan_network
from elastic_yolo.detector.darknet.weights import read_weights
from elastic_yolo.detector.detector import Detector
from elastic_yolo.detector.engines.libdarknet import DarknetBox, LibDarknet, find_libdarknet
from elastic_yolo.detector.engines.openvino import OpenVinoEngine
from elastic_yolo.detector.graph import build_graph
from elastic_yolo.detector.heads import decode_heads
from elastic_yolo.detector.model import read_model
from elastic_yolo.detector.nms import suppress
from elastic_yolo.detector.placement import Placement, draw_input

pytestmark = [
    pytest.mark.skipif(
        find_libdarknet() is None,
        reason='the Darknet oracle is missing: run "make oracle" (installs Debian\'s package '
        "darknet); agreement with Darknet is NOT tested",
    ),
    # The largest network takes ten seconds on a core of its own.
    pytest.mark.timeout(300),
]

# The measured numbers: pytest --log-cli-level=INFO
LOG = logging.getLogger(__name__)

ROOT = Path(__file__).parents[3]
DARKNET = Path("/usr/share/darknet")
DARKNET_PICTURES = sorted((DARKNET / "data").glob("*.jpg"))
DEMO = ROOT / "models" / "demo"
DEMO_PICTURES = sorted(
    path
    for path in (ROOT / "client" / "images").glob("*")
    if path.suffix in (".jpg", ".jpeg", ".png", ".webp", ".bmp")
)

# Largest accepted difference for each head, relative to its largest value. Both sides add float32
# values in different orders; in practice the difference is a tenth of this.
RELATIVE = 1e-4
PIXELS = 1.0
SCORES = 0.005
# For uint8 input, which the services always use: docs/accuracy.md.
ROUNDED_SCORES = 0.03


@dataclass
class BothSides:
    """One network in Darknet and in this project's engine."""

    oracle: LibDarknet
    network: Network
    engine: OpenVinoEngine


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BothSides]:
    """yolov3-tiny at its own size, random weights."""
    yield from both_sides_of("yolov3-tiny", None, tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def wide_tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BothSides]:
    """yolov3-tiny, wider than high, random weights."""
    yield from both_sides_of("yolov3-tiny", (448, 320), tmp_path_factory.mktemp("wide_tiny"))


@pytest.fixture(scope="module")
def spp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BothSides]:
    """yolov3-spp, wider than high, random weights."""
    yield from both_sides_of("yolov3-spp", (352, 288), tmp_path_factory.mktemp("spp"))


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BothSides]:
    """yolov3, higher than wide, random weights."""
    yield from both_sides_of("yolov3", (288, 352), tmp_path_factory.mktemp("full"))


@pytest.fixture(scope="module")
def demo_oracle() -> Iterator[LibDarknet]:
    """The embedded model in Darknet."""
    with LibDarknet(*demo_files()) as oracle:
        yield oracle


@pytest.fixture(scope="module")
def demo_detector() -> Detector:
    """The embedded model in this project."""
    model = read_model(DEMO)
    return Detector(
        model, OpenVinoEngine(build_graph(model.network, model.read_weights()), threads=1)
    )


@pytest.mark.parametrize("picture", DARKNET_PICTURES, ids=lambda path: path.stem)
def test_yolov3_tiny_head_inputs_agree_with_darknet(tiny: BothSides, picture: Path) -> None:
    image = picture_at_network_size(picture, tiny.oracle)
    assert_heads_agree(tiny.engine.execute(image[np.newaxis]), tiny.oracle.raw_head_inputs(image))


@pytest.mark.long
def test_yolov3_spp_head_inputs_agree_with_darknet(spp: BothSides) -> None:
    image = picture_at_network_size(DARKNET / "data" / "dog.jpg", spp.oracle)
    assert_heads_agree(spp.engine.execute(image[np.newaxis]), spp.oracle.raw_head_inputs(image))


@pytest.mark.long
def test_yolov3_head_inputs_agree_with_darknet(full: BothSides) -> None:
    image = picture_at_network_size(DARKNET / "data" / "kite.jpg", full.oracle)
    assert_heads_agree(full.engine.execute(image[np.newaxis]), full.oracle.raw_head_inputs(image))


@pytest.mark.parametrize(
    ("name", "size"),
    [
        pytest.param("yolov2", (352, 288), marks=pytest.mark.long),
        pytest.param("yolov2-voc", (288, 352), marks=pytest.mark.long),
        ("yolov2-tiny", (416, 352)),
        ("yolov2-tiny-voc", (352, 416)),
        pytest.param("yolov3-voc", (256, 224), marks=pytest.mark.long),
    ],
)
def test_head_inputs_of_other_networks_agree_with_darknet(
    tmp_path: Path, name: str, size: tuple[int, int]
) -> None:
    """[region] and [reorg] are in the yolov2 family."""
    for both in both_sides_of(name, size, tmp_path):
        image = picture_at_network_size(DARKNET / "data" / "eagle.jpg", both.oracle)
        assert_heads_agree(
            both.engine.execute(image[np.newaxis]), both.oracle.raw_head_inputs(image)
        )


def test_yolov2_boxes_agree_with_darknet(tmp_path: Path) -> None:
    """Classes of [region] compete, and its anchors count cells."""
    for both in both_sides_of("yolov2-tiny-voc", (416, 352), tmp_path):
        image = picture_at_network_size(DARKNET / "data" / "horses.jpg", both.oracle)
        both.oracle.raw_head_inputs(image)
        theirs = both.oracle.last_boxes(0.1, 0.45)
        ours = found_at_network_size(both, image, 0.1, 0.45)
        assert disagreements(ours, theirs, 0.1, pixels=0.05, scores=1e-4) == []
        assert 100 < len(theirs) < len(both.oracle.last_boxes(0.1, 1.0)) * 0.9


def test_random_weights_give_outputs_of_useful_spread(tiny: BothSides) -> None:
    image = picture_at_network_size(DARKNET / "data" / "dog.jpg", tiny.oracle)
    for head in tiny.oracle.raw_head_inputs(image):
        assert np.abs(head).max() < 10
        assert head.std(axis=(2, 3)).mean() > 0.2, "hardly differs between cells"


def test_decoding_and_nms_agree_with_darknet(wide_tiny: BothSides, tmp_path: Path) -> None:
    # At network size the letterbox changes nothing, so the boxes must be nearly identical.
    image = picture_at_network_size(DARKNET / "data" / "horses.jpg", wide_tiny.oracle)
    png = save_png(image, tmp_path)
    theirs = wide_tiny.oracle.detect(png, 0.7, 0.2)
    ours = found_at_network_size(wide_tiny, image, 0.7, 0.2)
    assert disagreements(ours, theirs, 0.7, pixels=0.05, scores=1e-5) == []
    # Enough boxes, and enough suppressed ones, to make the comparison meaningful.
    assert 100 < len(theirs) < len(wide_tiny.oracle.detect(png, 0.7, 1.0)) * 0.8


@pytest.mark.parametrize("picture", DARKNET_PICTURES, ids=lambda path: path.stem)
def test_letterbox_agrees_with_darknet(tiny: BothSides, picture: Path, tmp_path: Path) -> None:
    pixels = read_picture(picture)
    height, width = pixels.shape[:2]
    wanted = InputFormat((tiny.oracle.width, tiny.oracle.height), "letterbox")
    place = Placement.fit((width, height), wanted)
    theirs = tiny.oracle.letterbox(save_png(pixels, tmp_path)) * 255
    difference = np.abs(draw_input(pixels, 1, place) - theirs)
    inside = np.zeros(difference.shape, bool)
    (x, y), (columns, rows) = place.corner, place.inner
    # Not the last row: for about one height in twenty, Darknet's float32 row counter ends just
    # short of it, and that row stays black.
    inside[y : y + rows - 1, x : x + columns] = True
    grey = np.ones(difference.shape, bool)
    grey[y : y + rows, x : x + columns] = False
    report = f"largest {difference[inside].max():.2f}, mean {difference[inside].mean():.3f} of 255"
    LOG.info(report)
    # OpenCV counts 32 steps between two pixels and rounds to whole numbers; Darknet does neither.
    assert difference[inside].max() < 8, report
    assert difference[inside].mean() < 0.5, report
    assert difference[grey].max(initial=0) <= 0.5, "the margin is not Darknet's grey"


@pytest.mark.parametrize("picture", DARKNET_PICTURES, ids=lambda path: path.stem)
def test_embedded_model_head_inputs_agree_with_darknet(
    demo_oracle: LibDarknet, demo_detector: Detector, picture: Path
) -> None:
    image = picture_at_network_size(picture, demo_oracle)
    assert_heads_agree(demo_detector.execute(image[np.newaxis]), demo_oracle.raw_head_inputs(image))


def test_embedded_model_comes_with_pictures() -> None:
    assert DEMO_PICTURES, "client/images is empty: the next test would compare nothing"


@pytest.mark.parametrize(("exact", "scores"), [(True, SCORES), (False, ROUNDED_SCORES)])
@pytest.mark.parametrize("picture", DEMO_PICTURES, ids=lambda path: path.name)
def test_embedded_model_boxes_agree_with_darknet(
    demo_oracle: LibDarknet,
    demo_detector: Detector,
    picture: Path,
    tmp_path: Path,
    exact: bool,
    scores: float,
) -> None:
    """Nearly identical with `exact`; otherwise within the effect of rounding pixels to uint8."""
    # A PNG, so that different JPEG decoders do not matter.
    png = save_png(read_picture(picture), tmp_path)
    model = demo_detector.model
    theirs = demo_oracle.detect(png, model.threshold, model.iou)
    ours = [
        (model.labels.index(found.label), found.score, found.box)
        for found in demo_detector.detect(png.read_bytes(), model.threshold, model.iou, exact=exact)
    ]
    assert disagreements(ours, theirs, model.threshold, PIXELS, scores) == []


def both_sides_of(name: str, size: tuple[int, int] | None, folder: Path) -> Iterator[BothSides]:
    """Load a network of Debian's package with random weights; `size` is (width, height)."""
    # Smaller than 608x608, which takes Darknet four times as long, and not square, so that swapping
    # rows and columns fails the test.
    cfg, weights = write_cfg(name, folder, size), folder / f"{name}.weights"
    write_random_weights(cfg, weights, SEED)
    network = plan_network(read_cfg(cfg))
    engine = OpenVinoEngine(build_graph(network, read_weights(weights, network)), threads=1)
    with LibDarknet(cfg, weights) as oracle:
        # Up to 250 MB, which both sides have read.
        weights.unlink()
        yield BothSides(oracle, network, engine)


def demo_files() -> tuple[Path, Path]:
    """Return the .cfg and the .weights of the embedded model."""
    cfg, weights = sorted(DEMO.glob("*.cfg")), sorted(DEMO.glob("*.weights"))
    assert len(cfg) == len(weights) == 1, f"{DEMO} must hold one .cfg and one .weights"
    return cfg[0], weights[0]


def read_picture(path: Path) -> Pixels:
    """Return (h, w, 3) uint8 RGB."""
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    assert pixels is not None, f"{path} does not decode"
    return np.asarray(pixels, np.uint8)


def picture_at_network_size(path: Path, oracle: LibDarknet) -> Pixels:
    """Return a picture stretched to (height, width, 3) of the network."""
    return np.asarray(cv2.resize(read_picture(path), (oracle.width, oracle.height)), np.uint8)


def save_png(pixels: Pixels, folder: Path) -> Path:
    """Write (h, w, 3) uint8 RGB without loss."""
    path = folder / "picture.png"
    assert cv2.imwrite(str(path), pixels[:, :, ::-1])
    return path


def found_at_network_size(
    sides: BothSides, image: Pixels, threshold: float, iou: float
) -> list[DarknetBox]:
    """Return this project's boxes of a picture at network size, as the oracle returns them."""
    outputs = sides.engine.execute(image[np.newaxis])
    rows = suppress(decode_heads(sides.network, [head[0] for head in outputs], threshold), iou)
    return [
        (int(row[CLASS]), float(row[SCORE]), box)
        for row, box in zip(rows, centre_boxes(rows), strict=True)
    ]


def assert_heads_agree(ours: list[Floats], theirs: list[Floats]) -> None:
    """Compare the raw outputs of one picture; ours are (1, anchors * (5 + classes), h, w)."""
    assert len(ours) == len(theirs)
    for number, (mine, right) in enumerate(zip(ours, theirs, strict=True)):
        difference = np.abs(mine.reshape(right.shape) - right)
        largest, mean, magnitude = difference.max(), difference.mean(), np.abs(right).max()
        report = (
            f"head {number}: largest difference {largest:.2e} of {magnitude:.2f} "
            f"({largest / magnitude:.1e}), mean {mean:.1e}"
        )
        LOG.info(report)
        assert largest <= RELATIVE * magnitude, report


def disagreements(
    ours: list[DarknetBox],
    theirs: list[DarknetBox],
    threshold: float,
    pixels: float = PIXELS,
    scores: float = SCORES,
) -> list[str]:
    """Return a sentence for every detection of one side that the other side lacks.

    A detection with a score within `scores` of the threshold may be missing.
    """
    complaints = []
    left = list(theirs)
    for found in ours:
        nearest = min(
            (other for other in left if other[0] == found[0]),
            key=lambda other: distance(found, other),
            default=None,
        )
        if (
            nearest is not None
            and distance(found, nearest) <= pixels
            and abs(found[1] - nearest[1]) <= scores
        ):
            left.remove(nearest)
        elif found[1] > threshold + scores:
            complaints.append(f"only in this project: {found}, nearest in Darknet: {nearest}")
    complaints += [f"only in Darknet: {o}" for o in left if o[1] > threshold + scores]
    return complaints
