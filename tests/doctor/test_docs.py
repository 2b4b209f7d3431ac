"""Every code has its line in docs/doctor.md, and a case in tests/doctor/cases."""

from __future__ import annotations

import argparse
import inspect
import re

from elastic_yolo.cli.stream import add_parser
from elastic_yolo.doctor import manifests, sources
from elastic_yolo.doctor.drain import DRAIN_DEFAULTS_S, STREAM_DRAIN_S
from elastic_yolo.doctor.rules import RULES
from elastic_yolo.lab.processes.stack import ROOT
from services.common.core.settings import ServiceSettings
from tests.support.doctor_cases import all_cases

# A line of a table: the code, and the letters of its severities.
ROW = re.compile(r"^\| ([A-Z]+\d\d) \| ([EW ]+) \| \S", re.MULTILINE)
TEXT = (ROOT / "docs" / "doctor.md").read_text()
CODES = [rule.code for rule in RULES]
# Found while the manifests are read, before any rule is applied.
OF_READING = sorted(
    set(re.findall(r'code="(YAML\d\d)"', inspect.getsource(manifests) + inspect.getsource(sources)))
)


def test_every_code_is_documented_once_and_no_other() -> None:
    assert sorted(code for code, _ in ROW.findall(TEXT)) == sorted([*CODES, *OF_READING])
    assert len(set(CODES)) == len(CODES)


def test_every_code_has_a_mistake_that_it_finds() -> None:
    assert {case.code for case in all_cases() if case.found} == {*CODES, *OF_READING}


def test_every_severity_that_is_found_is_documented() -> None:
    letters = dict(ROW.findall(TEXT))
    for case in all_cases():
        for code, severity in case.found:
            assert severity[0].upper() in letters[code], case


def test_the_drain_defaults_are_those_of_the_services() -> None:
    fields = ServiceSettings.model_fields

    assert {name: fields[name.lower()].default for name in DRAIN_DEFAULTS_S} == DRAIN_DEFAULTS_S


def test_the_drain_default_of_a_stream_is_that_of_the_command() -> None:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())

    parsed = parser.parse_args(["stream", "--source", "x"])

    assert parsed.drain_timeout == STREAM_DRAIN_S
