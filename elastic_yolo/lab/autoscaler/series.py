"""One time series of a Prometheus exposition, as KEDA's trigger metrics-api names it.

Source: kedacore/keda, pkg/scalers/metrics_api_scaler.go (getValueFromPrometheusResponse).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_SERIES = re.compile(r"([A-Za-z_:][\w:]*)(?:\{(.*)\})?")
_LABEL = re.compile(r'\s*([A-Za-z_]\w*)="([^"\\]*)"\s*(?:,|$)')


@dataclass(frozen=True)
class Series:
    """A metric and the labels that its series must have, among others."""

    name: str
    labels: Mapping[str, str]

    def value_in(self, exposition: str) -> float | None:
        """Return the value of the first series that matches; None if there is none."""
        for line in exposition.splitlines():
            text, _, value = line.rpartition(" ")
            found = _SERIES.fullmatch(text)
            if found and found[1] == self.name:
                stated = dict(_LABEL.findall(found[2] or ""))
                if self.labels.items() <= stated.items():
                    return float(value)
        return None


def parse_series(text: str) -> Series:
    """Return the series of `name{label="value",...}`; raises ValueError for anything else."""
    found = _SERIES.fullmatch(text.strip())
    labels = found[2] or "" if found else ""
    if not found or _LABEL.sub("", labels):
        raise ValueError(f'{text!r} is not name{{label="value",...}}')
    return Series(found[1], dict(_LABEL.findall(labels)))
