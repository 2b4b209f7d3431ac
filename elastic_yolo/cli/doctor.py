"""`elastic-yolo doctor`: why something will not deploy or scale, and what this machine can do."""

from __future__ import annotations

import argparse
import json
import shlex
from dataclasses import asdict
from typing import Any

from elastic_yolo.doctor.cluster import read_cluster
from elastic_yolo.doctor.errors import DoctorError, NothingToRead
from elastic_yolo.doctor.finding import Finding
from elastic_yolo.doctor.given import ManifestSet
from elastic_yolo.doctor.local import examine
from elastic_yolo.doctor.report import as_data, describe, has_errors
from elastic_yolo.doctor.rules import diagnose
from elastic_yolo.doctor.sources import find_kubectl, read_sources
from elastic_yolo.progress import ProgressLine, print_status

_DESCRIPTION = """\
Say in plain sentences why manifests will not deploy or scale: what is wrong, where, why it matters,
and what to do. Everything that is applied together has to be given together. docs/doctor.md
explains each code.

PATH is a file, a folder (read with all that is below it; one with a kustomization.yaml is rendered
by `kubectl kustomize`), or - for standard input. --cluster looks at what is in a cluster instead,
--local at this machine.
"""
_EPILOG = """\
Exit status: 0 nothing found, or warnings alone; 1 an error was found, or the work failed; 2 wrong
usage. With --local a line `problem` counts as an error.
"""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "doctor",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paths", nargs="*", metavar="PATH", help="manifests")
    parser.add_argument("--cluster", action="store_true", help="look at a live cluster")
    parser.add_argument(
        "--namespace", metavar="N", help="with --cluster (the one that kubectl is set up for)"
    )
    parser.add_argument("--local", action="store_true", help="look at this machine")
    parser.add_argument(
        "--kubectl",
        type=shlex.split,
        metavar="COMMAND",
        help="such as 'microk8s kubectl', or 'kubectl --context other' (the first one found)",
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.set_defaults(run=lambda parsed: run(parser, parsed))


def run(parser: argparse.ArgumentParser, parsed: argparse.Namespace) -> int:
    """Look and report; the exit status is 1 if an error was found."""
    if [bool(parsed.paths), parsed.cluster, parsed.local].count(True) != 1:
        parser.error("give one of: the PATH of manifests, --cluster, --local")
    if parsed.namespace is not None and not parsed.cluster:
        parser.error("--namespace is for --cluster: in manifests it is stated")
    try:
        return _examine_machine(parsed) if parsed.local else _examine_manifests(parsed)
    except NothingToRead as error:
        parser.error(str(error))
    except DoctorError as error:
        print_status(f"elastic-yolo: {error}")
        return 1


def _examine_manifests(parsed: argparse.Namespace) -> int:
    kubectl = parsed.kubectl or find_kubectl()
    unreadable: list[Finding] = []
    if parsed.cluster:
        given = read_cluster(kubectl or ["kubectl"], parsed.namespace, ProgressLine())
    else:
        reading = read_sources(parsed.paths, kubectl)
        given, unreadable = ManifestSet(reading.manifests), reading.findings
    findings = [*unreadable, *diagnose(given)]
    findings.sort(key=lambda finding: finding.severity != "error")
    if parsed.json:
        print(json.dumps(as_data(findings, len(given.manifests)), indent=2))
    else:
        print(describe(findings, len(given.manifests)))
    return 1 if has_errors(findings) else 0


def _examine_machine(parsed: argparse.Namespace) -> int:
    lines = []
    for line in examine():
        lines.append(line)
        if not parsed.json:
            print(f"{line.state:<8} {line.name:<12} {line.detail}", flush=True)
    if parsed.json:
        print(json.dumps([asdict(line) for line in lines], indent=2))
    return 1 if any(line.state == "problem" for line in lines) else 0
