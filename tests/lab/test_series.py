"""A time series of a Prometheus exposition, as KEDA's trigger names it."""

from __future__ import annotations

import pytest

from elastic_yolo.lab.autoscaler.series import Series, parse_series

EXPOSITION = """\
# HELP queue_waiting Queued requests.
# TYPE queue_waiting gauge
queue_waiting{service="web",queue="drawing"} 9.0
queue_waiting{service="web",queue="admission"} 3.0
queue_waiting_total 7.0
alone 1.5e3
"""


def test_the_first_series_with_the_labels_counts() -> None:
    assert parse_series('queue_waiting{queue="admission"}').value_in(EXPOSITION) == 3
    assert parse_series("queue_waiting").value_in(EXPOSITION) == 9
    assert parse_series("alone").value_in(EXPOSITION) == 1500


@pytest.mark.parametrize("text", ['queue_waiting{queue="other"}', "absent", "queue"])
def test_without_such_a_series_there_is_no_value(text: str) -> None:
    assert parse_series(text).value_in(EXPOSITION) is None


def test_several_labels_are_read() -> None:
    labels = {"service": "web", "queue": "a,b"}

    assert parse_series('q{service="web", queue="a,b"}') == Series("q", labels)


@pytest.mark.parametrize("text", ["", "1up", 'q{a!="b"}', 'q{a=~"b"}', "q{a=b}", 'q{a="b"', "q q"])
def test_other_selectors_are_refused(text: str) -> None:
    """KEDA compares by equality whatever the operator says."""
    with pytest.raises(ValueError, match="is not name"):
        parse_series(text)
