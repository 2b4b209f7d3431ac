"""Draw the picture of docs/explain.md: a scene's detections, and heat maps of two of them.

python -m tools.explain_picture
"""

from __future__ import annotations

import io
from typing import Any

import httpx
from PIL import Image

from elastic_yolo.lab.processes.stack import DEMO_MODEL, ROOT, Stack

_SCENE = ROOT / "client" / "images" / "scene-01.jpg"
_TARGET = ROOT / "docs" / "images" / "explain.png"
_EXPLAINED = 2
_WIDTH = 420
_GAP = 8
_ON = {"EXPLAIN": "true", "REQUEST_TIMEOUT_MS": "600000"}
_PNG = {"Accept": "image/png"}


def main() -> None:
    """Serve the embedded model, ask for everything, and write the file."""
    env = {"web": _ON, "preprocess": _ON, "inference": {"REQUEST_TIMEOUT_MS": "600000"}}
    with Stack(model=DEMO_MODEL, env=env) as stack:
        panels = _draw_panels(stack.web.url)
    height = round(_WIDTH * panels[0].height / panels[0].width)
    sheet = Image.new("RGB", (len(panels) * (_WIDTH + _GAP) - _GAP, height), "white")
    for number, panel in enumerate(panels):
        resized = panel.resize((_WIDTH, height), Image.Resampling.LANCZOS)
        sheet.paste(resized, (number * (_WIDTH + _GAP), 0))
    sheet.quantize(256).save(_TARGET, optimize=True)
    print(f"{_TARGET.relative_to(ROOT)}: {_TARGET.stat().st_size:,} bytes")


def _draw_panels(url: str) -> list[Image.Image]:
    """Return the scene with its boxes, and with heat maps of the best detections."""
    files = {"image": _SCENE.read_bytes()}
    with httpx.Client(base_url=url, timeout=600) as web:
        found = web.post("/inference", files=files).raise_for_status().json()["data"]
        drawn = web.post("/inference", files=files, headers=_PNG).raise_for_status().content
        boxes = Image.open(io.BytesIO(drawn)).convert("RGB")
        return [boxes, *(_overlay(web, files, one) for one in found[:_EXPLAINED])]


def _overlay(web: httpx.Client, files: dict[str, bytes], found: list[Any]) -> Image.Image:
    """Return the scene in grey with the heat map of a detection."""
    label, _, box = found
    query = {"label": label, "box": ",".join(map(str, box))}
    explained = web.post("/explain", files=files, params=query, headers=_PNG).raise_for_status()
    heat = Image.open(io.BytesIO(explained.content))
    # Grey, so that all colours are the map's.
    below = Image.open(_SCENE).convert("L").convert("RGBA").resize(heat.size)
    return Image.alpha_composite(below, heat).convert("RGB")


if __name__ == "__main__":
    main()
