"""How web answered pictures, from its metrics."""

from __future__ import annotations

from elastic_yolo.lab.processes.answered import Answered, read_answered

METRICS = """\
# TYPE elastic_yolo_requests_total counter
elastic_yolo_requests_total{method="POST",route="/inference",service="web",status="200"} 2430.0
elastic_yolo_requests_total{method="POST",route="/inference",service="web",status="415"} 1.0
elastic_yolo_requests_total{method="GET",route="/inference",service="web",status="415"} 1.0
elastic_yolo_requests_total{method="GET",route="/readyz",service="web",status="200"} 7.0
elastic_yolo_request_duration_seconds_sum{route="/inference",service="web"} 51.072
elastic_yolo_request_duration_seconds_sum{route="/readyz",service="web"} 3.0
"""


def test_only_pictures_are_counted() -> None:
    assert read_answered(METRICS) == Answered({200: 2430, 415: 2}, 51.072)
    assert read_answered("") == Answered({}, 0.0)


def test_the_state_is_a_few_words() -> None:
    assert read_answered(METRICS).state() == "2,432 pictures, 2 failed"
    assert Answered({200: 1}, 0.1).state() == "1 picture"


def test_the_table_has_a_row_for_each_status() -> None:
    assert Answered({499: 1, 200: 2430, 415: 2, 299: 1}, 51.114).table() == [
        "response                    pictures",
        "200 OK                         2,430",
        "299                                1",
        "415 Unsupported Media Type         2",
        "499 caller left                    1",
        "all                            2,434  mean 21 ms",
    ]
    assert Answered({}, 0.0).table() == ["no pictures were sent"]
