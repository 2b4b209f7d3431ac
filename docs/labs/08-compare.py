"""Send the scenes of client/images to several models, and compare what they find and cost.

    python docs/labs/08-compare.py demo small ensemble:demo+small

`ms` is the median over the pictures, of each its fastest response. `CPU ms` is the CPU time of all
three services for a picture.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from client.percentile import percentile  # noqa: E402  # a script finds them only now
from client.truth import read_truth  # noqa: E402

PICTURES = ROOT / "client" / "images"
ROUNDS = 3
SERVICES = (5000, 8000, 4002)


def main() -> None:
    """Print a row for each model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--least", type=float, default=0, help="drop boxes with a lower score")
    options = parser.parse_args()
    print(f"{'model':34}{'found':>9}{'others':>8}{'ms':>8}{'CPU ms':>8}")  # noqa: T201
    with httpx.Client(timeout=60) as client:
        for model in options.models:
            print(measure(client, model, options.least), flush=True)  # noqa: T201


def measure(client: httpx.Client, model: str, least: float) -> str:
    """Send every scene, the first round unmeasured; return a row."""
    truth = read_truth(PICTURES / "truth.json")
    found = objects = others = 0
    fastest_ms: dict[str, float] = {}
    cpu_s = 0.0
    for number in range(ROUNDS):
        if number == 1:
            cpu_s = read_cpu_s(client)
        for name, known in truth.items():
            response = client.post(
                "http://127.0.0.1:5000/inference",
                params={"model": model},
                content=(PICTURES / name).read_bytes(),
                headers={"Content-Type": "image/*"},
            ).raise_for_status()
            data = [
                (label, score, box)
                for label, score, box in response.json()["data"]
                if score >= least
            ]
            if number == 0:
                right = known.count_found(data)
                found += right
                objects += len(known.objects)
                others += len(data) - right
            else:
                took_ms = response.elapsed.total_seconds() * 1000
                fastest_ms[name] = min(took_ms, fastest_ms.get(name, took_ms))
    cpu_ms = (read_cpu_s(client) - cpu_s) * 1000 / (ROUNDS - 1) / len(truth)
    ms = percentile(list(fastest_ms.values()), 50)
    return f"{model:34}{f'{found}/{objects}':>9}{others:8}{ms:8.0f}{cpu_ms:8.0f}"


def read_cpu_s(client: httpx.Client) -> float:
    """Return the CPU time of the services so far."""
    return sum(
        float(line.split()[1])
        for port in SERVICES
        for line in client.get(f"http://127.0.0.1:{port}/metrics").text.splitlines()
        if line.startswith("process_cpu_seconds_total ")
    )


if __name__ == "__main__":
    main()
