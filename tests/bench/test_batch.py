"""The benchmark of batches."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.batch import main


@pytest.mark.long
def test_the_table_compares_batch_with_the_bare_loops(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "bench.json"
    options = ("--precision", "fp32", "--pictures", "12", "--rounds", "2", "--output", str(output))

    assert main(["--model", str(tiny_model), *options]) == 0

    written = json.loads(output.read_text())
    assert list(written) == ["batch", "detect loop", "engine alone"]
    rates = {name: [one["pictures_per_s"] for one in turns] for name, turns in written.items()}
    assert all(len(values) == 2 and min(values) > 0 for values in rates.values())
    assert all(one["cpu_ms"] > 0 for turns in written.values() for one in turns)
    first, head, *rows = capsys.readouterr().out.splitlines()
    assert first.startswith("tiny fp32, 12 JPEGs; ")
    assert head.split()[:3] == ["pictures/s", "CPU", "ms"]
    assert [row[:14].strip() for row in rows] == list(rates)
    ratio = sorted(
        one / other for one, other in zip(rates["batch"], rates["detect loop"], strict=True)
    )
    assert rows[1].endswith(f"({ratio[0]:.3f} to {ratio[1]:.3f})")
