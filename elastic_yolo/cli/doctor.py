"""`elastic-yolo doctor`: check manifests, a cluster or this machine."""

from __future__ import annotations

import argparse
import json
import shlex
from dataclasses import asdict
from typing import Any

from elastic_yolo.doctor.cluster import read_cluster
from elastic_yolo.doctor.errors import DoctorError, NothingToRead
from elastic_yolo.doctor.finding import Finding
from elastic_yolo.doctor.local import examine
from elastic_yolo.doctor.manifest_set import ManifestSet
from elastic_yolo.doctor.report import as_data, describe, has_errors
from elastic_yolo.doctor.rules import diagnose
from elastic_yolo.doctor.sources import find_kubectl, read_sources
from elastic_yolo.progress import ProgressLine, print_status

_DESCRIPTION = """\
Explain why manifests will not deploy or scale: what is wrong, where, why it matters and how to fix
it. Pass everything that is applied together. docs/doctor.md explains each code.

PATH is a file, a folder (read with its subfolders; one with a kustomization.yaml is rendered by
`kubectl kustomize`), or - for standard input. --cluster checks a live cluster instead, --local this
machine.
"""
_EPILOG = """\
Exit status: 0 nothing found, or warnings only; 1 an error was found, or the check failed; 2 wrong
usage. With --local, a line `problem` is an error.
"""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "doctor",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "paths", nargs="*", metavar="PATH", help="file or folder with manifests, or -"
    )
    parser.add_argument("--cluster", action="store_true", help="check a live cluster")
    parser.add_argument(
        "--namespace",
        metavar="N",
        help="namespace to check with --cluster (default: kubectl's current one)",
    )
    parser.add_argument("--local", action="store_true", help="check this machine")
    parser.add_argument(
        "--kubectl",
        type=shlex.split,
        metavar="COMMAND",
        help="kubectl command, such as 'microk8s kubectl' or 'kubectl --context other' "
        "(default: the first found)",
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.set_defaults(run=lambda parsed: run(parser, parsed))


def run(parser: argparse.ArgumentParser, parsed: argparse.Namespace) -> int:
    """Check and print; the exit status is 1 if an error was found."""
    if [bool(parsed.paths), parsed.cluster, parsed.local].count(True) != 1:
        parser.error("pass one of: the PATH of manifests, --cluster, --local")
    if parsed.namespace is not None and not parsed.cluster:
        parser.error("--namespace needs --cluster; manifests have their own")
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
        manifests = read_cluster(kubectl or ["kubectl"], parsed.namespace, ProgressLine())
    else:
        reading = read_sources(parsed.paths, kubectl)
        manifests, unreadable = ManifestSet(reading.manifests), reading.findings
    findings = [*unreadable, *diagnose(manifests)]
    findings.sort(key=lambda finding: finding.severity != "error")
    if parsed.json:
        print(json.dumps(as_data(findings, len(manifests.manifests)), indent=2))
    else:
        print(describe(findings, len(manifests.manifests)))
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
