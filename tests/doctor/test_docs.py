"""Every rule has its line in docs/doctor.md, and a mistake in the tests that it finds."""

from __future__ import annotations

import inspect
import re

from elastic_yolo.doctor import manifests, sources
from elastic_yolo.doctor.rules import RULES
from elastic_yolo.doctor.rules.lifecycle import DRAIN_DEFAULTS_S
from elastic_yolo.lab.processes.stack import ROOT
from services.common.core.settings import ServiceSettings
from tests.doctor import test_cluster, test_reading
from tests.doctor.fine import FINE
from tests.doctor.mistakes import MISTAKES

# A line of a table: the code, and the letters of its severities.
ROW = re.compile(r"^\| ([A-Z]+\d\d) \| ([EW ]+) \| \S", re.MULTILINE)
TEXT = (ROOT / "docs" / "doctor.md").read_text()
CODES = [rule.code for rule in RULES]
# Found while reading, before there is anything for a rule to look at.
OF_READING = sorted(
    set(re.findall(r'code="(YAML\d\d)"', inspect.getsource(manifests) + inspect.getsource(sources)))
)


def test_every_code_is_documented_once_and_no_other() -> None:
    assert sorted(code for code, _ in ROW.findall(TEXT)) == sorted([*CODES, *OF_READING])
    assert len(set(CODES)) == len(CODES)


def test_every_rule_has_a_mistake_that_it_finds() -> None:
    """Those of clusters, and of what is no text, are tried with code: its tests name them."""
    tried = {case.code for case in MISTAKES}
    in_code = inspect.getsource(test_cluster) + inspect.getsource(test_reading)
    tried |= {code for code in [*CODES, *OF_READING] if f'"{code}"' in in_code}

    assert tried == {*CODES, *OF_READING}
    assert {case.code for case in FINE} < tried


def test_a_severity_that_is_found_is_documented() -> None:
    letters = dict(ROW.findall(TEXT))
    for case in MISTAKES:
        assert case.severity[0].upper() in letters[case.code], case


def test_how_long_draining_takes_is_what_the_services_have() -> None:
    fields = ServiceSettings.model_fields

    assert {name: fields[name.lower()].default for name in DRAIN_DEFAULTS_S} == DRAIN_DEFAULTS_S
