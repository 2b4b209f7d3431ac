"""Make a version for fog: the same network, whose first layer takes the fog away.

python docs/labs/07-see-through.py drift/model drift/model-fog --through 0.36
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np

AIRLIGHT = 0.85
# Of the first layer: Darknet's header, then biases, scales, means and variances, then the weights.
HEADER_BYTES = 20
FILTERS, CHANNELS, SIZE = 16, 3, 3


def main() -> None:
    """Write the version."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument(
        "--through", type=float, default=0.4, help="light that the fog lets through"
    )
    options = parser.parse_args()
    shutil.copytree(options.source, options.target)
    (path,) = options.target.glob("*.weights")
    data = bytearray(path.read_bytes())
    numbers = np.frombuffer(data, np.float32, offset=HEADER_BYTES)
    means = numbers[2 * FILTERS : 3 * FILTERS]
    weights = numbers[4 * FILTERS : 4 * FILTERS + FILTERS * CHANNELS * SIZE**2].reshape(FILTERS, -1)
    # Fog makes through * x + AIRLIGHT * (1 - through) of a pixel x. A layer whose weights are
    # divided by `through`, and whose mean is moved, computes from that what it computed from x.
    weights /= options.through
    means += AIRLIGHT * (1 - options.through) * weights.sum(1)
    path.write_bytes(data)


if __name__ == "__main__":
    main()
