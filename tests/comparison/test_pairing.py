"""Pairing the detections of two implementations, and the counts of a report."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from elastic_yolo.comparison.pairing import Kind, Pair, Tolerance, pair_detections
from elastic_yolo.comparison.report import Report, describe
from elastic_yolo.detector.boxes import Detection

TOLERANCE = Tolerance()


def dog(score: float, x: float = 50, width: float = 40) -> Detection:
    return Detection("dog", score, (x, 50, width, 40))


def pairs_of(
    theirs: list[Detection], ours: list[Detection], tolerance: Tolerance = TOLERANCE
) -> list[tuple[Detection | None, Detection | None, str]]:
    found = pair_detections(theirs, ours, 0.5, tolerance)
    return [(pair.theirs, pair.ours, str(pair.kind(tolerance))) for pair in found]


def test_equal_boxes_are_the_same() -> None:
    assert pairs_of([dog(0.9)], [dog(0.9)]) == [(dog(0.9), dog(0.9), "same")]


def test_a_box_within_both_tolerances_is_the_same() -> None:
    assert pairs_of([dog(0.9)], [dog(0.905, x=51)])[0][2] == "same"


def test_a_box_has_moved_beyond_either_tolerance() -> None:
    assert pairs_of([dog(0.9)], [dog(0.9, x=51.5)])[0][2] == "moved"
    assert pairs_of([dog(0.9)], [dog(0.9, width=41.5)])[0][2] == "moved"
    assert pairs_of([dog(0.9)], [dog(0.87)])[0][2] == "moved"
    wide = Tolerance(px=2, score=0.1)
    assert pairs_of([dog(0.9)], [dog(0.85, x=51.5)], wide)[0][2] == "same"


def test_boxes_of_different_labels_are_no_pair() -> None:
    sheep = Detection("sheep", 0.8, dog(0.9).box)

    assert pairs_of([dog(0.9)], [sheep]) == [(dog(0.9), None, "lost"), (None, sheep, "gained")]


def test_an_iou_below_one_half_is_no_pair() -> None:
    """Boxes 40 pixels wide: shifted by 14, they share 26 of 54 columns; by 13, 27 of 53."""
    assert [kind for *_, kind in pairs_of([dog(0.9)], [dog(0.9, x=64)])] == ["lost", "gained"]
    assert [kind for *_, kind in pairs_of([dog(0.9)], [dog(0.9, x=63)])] == ["moved"]


def test_the_best_overlap_is_paired_first() -> None:
    """The first of theirs overlaps both of ours; the second one only the nearer."""
    left, right = dog(0.9, x=50), dog(0.8, x=60)
    ours = [dog(0.7, x=58), dog(0.6, x=44)]

    assert pairs_of([left, right], ours) == [(right, ours[0], "moved"), (left, ours[1], "moved")]


def test_a_box_at_the_threshold_is_not_lost() -> None:
    """Callers pass detections down to the threshold less the tolerance of the score."""
    assert pairs_of([dog(0.502)], [dog(0.497)]) == [(dog(0.502), dog(0.497), "same")]
    assert pairs_of([dog(0.497)], [dog(0.499)]) == []
    assert pairs_of([dog(0.495)], []) == pairs_of([], [dog(0.495)]) == []


def test_a_box_below_the_threshold_is_lost_if_its_score_was_better() -> None:
    assert pairs_of([dog(0.7)], [dog(0.495)]) == [(dog(0.7), None, "lost")]
    assert pairs_of([dog(0.495)], [dog(0.7)]) == [(None, dog(0.7), "gained")]


def test_a_report_counts_by_class_and_ranks_differences() -> None:
    report = Report(TOLERANCE)
    cat = Detection("cat", 0.6, (9, 9, 4, 4))
    report.add("a.jpg", [Pair(dog(0.9), dog(0.9)), Pair(dog(0.8), dog(0.8, x=53)), Pair(cat, None)])
    report.add("b.jpg", [Pair(None, dog(0.95)), Pair(dog(0.9), dog(0.5, x=59))])

    assert report.pictures == 2
    assert describe(report.classes["dog"]) == {
        "theirs": 3, "ours": 4, "same": 1, "moved": 2, "lost": 0, "gained": 1
    }  # fmt: skip
    assert describe(report.totals) == {
        "theirs": 4, "ours": 4, "same": 1, "moved": 2, "lost": 1, "gained": 1
    }  # fmt: skip
    assert [(one.picture, one.kind) for one in report.largest(3)] == [
        ("b.jpg", Kind.GAINED),
        ("a.jpg", Kind.LOST),
        ("b.jpg", Kind.MOVED),
    ]
    assert (report.largest_px, round(report.largest_score, 6)) == (9, 0.4)
    assert report.to_json()["differences"][0] == {
        "picture": "b.jpg", "kind": "gained", "theirs": None,
        "ours": ["dog", 0.95, [50, 50, 40, 40]], "px": 0, "score": 0,
    }  # fmt: skip


_DETECTIONS = st.lists(
    st.builds(
        Detection,
        st.sampled_from(["a", "b"]),
        st.floats(0.4, 1),
        st.tuples(*[st.integers(0, 60)] * 2, *[st.integers(1, 60)] * 2),
    ),
    max_size=8,
)


@given(_DETECTIONS, _DETECTIONS)
def test_each_box_above_the_threshold_is_counted_once(
    theirs: list[Detection], ours: list[Detection]
) -> None:
    pairs = pair_detections(theirs, ours, 0.5, TOLERANCE)

    def above(found: list[Detection]) -> list[Detection]:
        return sorted((one for one in found if one.score > 0.5), key=repr)

    assert above([pair.theirs for pair in pairs if pair.theirs]) == above(theirs)
    assert above([pair.ours for pair in pairs if pair.ours]) == above(ours)


@given(_DETECTIONS, _DETECTIONS)
def test_the_other_way_round_lost_is_gained(theirs: list[Detection], ours: list[Detection]) -> None:
    one, other = Report(TOLERANCE), Report(TOLERANCE)
    one.add("x", pair_detections(theirs, ours, 0.5, TOLERANCE))
    other.add("x", pair_detections(ours, theirs, 0.5, TOLERANCE))

    assert describe(one.totals)["theirs"] == describe(other.totals)["ours"]
