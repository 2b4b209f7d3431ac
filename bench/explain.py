"""Check that saliency maps mean something, and measure what they cost: `make bench-explain`.

For detections in the sample pictures, the pixels of the picture are hidden in the order of a map
(deletion), or all but those (insertion), and the area under the curve of the score is printed. A
good map has a small area for deletion and a large one for insertion. It is compared with Gaussians
around the centre of the box and of the picture. Then the three services get ordinary requests with
and without an explanation beside them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.explain_load import compare_load
from bench.models import THREADS
from elastic_yolo.detector.boxes import CLASS, SCORE, Floats, Image
from elastic_yolo.detector.decode import decode_upright
from elastic_yolo.detector.detector import Detector
from elastic_yolo.detector.engines.choose import EngineOptions
from elastic_yolo.detector.placement import Placement, draw_input
from elastic_yolo.detector.saliency.masks import Masks
from elastic_yolo.detector.saliency.ranking import Ranking, area_under
from elastic_yolo.detector.saliency.saliency_sum import SaliencySum
from elastic_yolo.detector.saliency.target import LOWEST_SCORE, Target
from elastic_yolo.detector.saliency.window import Window
from elastic_yolo.detector.samples import list_pictures
from elastic_yolo.lab.processes.stack import DEMO_MODEL, ROOT
from elastic_yolo.progress import print_status

_SCENES = ROOT / "client" / "images"
# Standard deviation of a Gaussian as a part of the side of its box, or of the picture.
_SPREAD = 0.25
NAMES = ("map", "Gaussian in the box", "Gaussian in the picture")


@dataclass(frozen=True)
class Scene:
    """A picture as the network gets it, and one detection in it."""

    name: str
    image: Image
    place: Placement
    target: Target
    score: float


@dataclass(frozen=True)
class Areas:
    """The areas under the curves of one detection, of each of NAMES."""

    deletion: list[float]
    insertion: list[float]


class Explaining:
    """A detector that predicts what is left of a detection."""

    def __init__(self, detector: Detector, steps: int) -> None:
        """Measure curves at `steps` points, more of them at the begin."""
        self._detector = detector
        # Objects take a few percent of a picture: most happens at the begin.
        self._parts = np.linspace(0, 1, steps + 1, dtype=np.float32) ** 3

    def predict(self, image: Image) -> Floats:
        """Return the (k, 6) rows of one input, from a very low score on."""
        outputs = self._detector.execute(image[np.newaxis])
        return self._detector.postprocess(outputs, LOWEST_SCORE, self._detector.model.iou)[0]

    def scenes(self, picture: Path, most: int) -> Iterator[Scene]:
        """Yield the best detections of a picture, at most `most`."""
        pixels = decode_upright(picture.read_bytes())
        model = self._detector.model
        place = Placement.fit((pixels.shape[1], pixels.shape[0]), model.input_format)
        image = draw_input(pixels, 1, place)
        found = self.predict(image)
        for row in found[found[:, SCORE] >= model.threshold][:most]:
            target = Target(int(row[CLASS]), row[:4])
            name = f"{picture.stem} {model.labels[target.class_number]}"
            yield Scene(name, image, place, target, float(row[SCORE]))

    def explain(self, scene: Scene, masks: int) -> Floats:
        """Return the map over the inner picture, (height, width); all around it comes last."""
        window = Window.around(scene.target.box, scene.place)
        drawn = Masks.of(window, seed=0)
        sums = SaliencySum(drawn.size)
        for number in range(masks):
            mask = drawn.draw(number)
            sums.add(mask, scene.target.weigh(self.predict(window.hide(scene.image, mask))))
        width, height = scene.place.inner
        x, y = window.x - scene.place.corner[0], window.y - scene.place.corner[1]
        spread = np.full((height, width), -np.inf, np.float32)
        spread[y : y + window.height, x : x + window.width] = sums.to_map()
        return spread

    def areas(self, scene: Scene, saliency: Floats) -> tuple[float, float]:
        """Return the areas under the curves of deletion and insertion."""
        ranking = Ranking(saliency)
        whole = Window(*scene.place.corner, *scene.place.inner)
        curves = [
            [
                scene.target.weigh(self.predict(whole.hide(scene.image, mask(float(part)))))
                for part in self._parts
            ]
            for mask in (ranking.without_best, ranking.best_alone)
        ]
        deletion, insertion = (area_under(self._parts, np.array(curve)) for curve in curves)
        return deletion, insertion


def gaussian(size: tuple[int, int], centre: Floats, sides: Floats) -> Floats:
    """Return a Gaussian over (width, height) pixels around a centre; all are x and y."""
    width, height = size
    y, x = np.mgrid[0:height, 0:width] + 0.5
    spread = sides * _SPREAD
    squared = ((x - centre[0]) / spread[0]) ** 2 + ((y - centre[1]) / spread[1]) ** 2
    # The exponent alone has the same order, and does not end at 0 far away.
    return np.asarray(-squared, np.float32)


def compare_maps(explaining: Explaining, scene: Scene, masks: int) -> Areas:
    """Return the areas of all maps of a detection."""
    box, corner = scene.target.box, np.array(scene.place.corner, np.float32)
    size = np.array(scene.place.inner, np.float32)
    middle = (box[:2] + box[2:]) * np.float32(0.5) - corner
    maps = [
        explaining.explain(scene, masks),
        gaussian(scene.place.inner, middle, box[2:] - box[:2]),
        gaussian(scene.place.inner, size * np.float32(0.5), size),
    ]
    pairs = [explaining.areas(scene, saliency) for saliency in maps]
    return Areas([pair[0] for pair in pairs], [pair[1] for pair in pairs])


def print_maps(parsed: argparse.Namespace) -> None:
    """Print the areas for each detection, their means, and how the map compares."""
    options = EngineOptions(THREADS, "auto", parsed.precision, "cpu")
    explaining = Explaining(Detector.load(parsed.model, options), parsed.steps)
    print(f"deletion, insertion: areas under the curve of the score; {parsed.masks} masks\n")
    print(f"| detection | score | {' | '.join(NAMES)} |")
    print("|---|---:|" + "---:|" * len(NAMES))
    all_areas = []
    started = time.perf_counter()
    for picture in list_pictures(parsed.pictures)[: parsed.scenes]:
        for scene in explaining.scenes(picture, parsed.targets):
            areas = compare_maps(explaining, scene, parsed.masks)
            all_areas.append(areas)
            print(f"| {scene.name} | {scene.score:.2f} | {_cells(areas)} |", flush=True)
    deletion = np.mean([one.deletion for one in all_areas], axis=0)
    insertion = np.mean([one.insertion for one in all_areas], axis=0)
    print(f"| **mean** | | {_cells(Areas(deletion.tolist(), insertion.tolist()))} |\n")
    for name, area, other in zip(NAMES[1:], deletion[1:], insertion[1:], strict=True):
        print(
            f"the map against {name}: deletion {100 * (1 - deletion[0] / area):.0f} % smaller, "
            f"insertion {100 * (insertion[0] / other - 1):+.0f} %"
        )
    print_status(f"{len(all_areas)} detections in {time.perf_counter() - started:.0f} s")


def _cells(areas: Areas) -> str:
    pairs = zip(areas.deletion, areas.insertion, strict=True)
    return " | ".join(f"{deletion:.4f}, {insertion:.3f}" for deletion, insertion in pairs)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(prog="make bench-explain", description=__doc__)
    parser.add_argument("--model", type=Path, default=DEMO_MODEL, help="(%(default)s)")
    parser.add_argument("--pictures", type=Path, default=_SCENES, help="(%(default)s)")
    parser.add_argument("--scenes", type=int, default=16, help="pictures (%(default)s)")
    parser.add_argument("--targets", type=int, default=2, help="of each picture (%(default)s)")
    parser.add_argument("--masks", type=int, default=500, help="of each detection (%(default)s)")
    parser.add_argument("--steps", type=int, default=16, help="of each curve (%(default)s)")
    parser.add_argument("--precision", default="fp32", help="(%(default)s)")
    parser.add_argument("--rate", type=float, default=10, help="ordinary pictures/s (%(default)s)")
    parser.add_argument("--seconds", type=float, default=20, help="of each load (%(default)s)")
    parser.add_argument("--part", choices=("maps", "load", "both"), default="both")
    parsed = parser.parse_args()
    if parsed.part != "load":
        print_maps(parsed)
    if parsed.part != "maps":
        compare_load(parsed.model, parsed.pictures, parsed.rate, parsed.seconds, parsed.masks)


if __name__ == "__main__":
    main()
