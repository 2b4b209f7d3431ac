"""Write monitoring/rules.yaml as a PrometheusRule for Kubernetes: `make docs`."""

from __future__ import annotations

from elastic_yolo.lab.processes.stack import ROOT

SOURCE = ROOT / "monitoring" / "rules.yaml"
TARGET = ROOT / "k8s" / "components" / "monitoring" / "rules.yaml"
_HEAD = """\
# Generated from monitoring/rules.yaml by `make docs`; edit that file.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: elastic-yolo
spec:
"""


def as_resource(rules: str) -> str:
    """Return a PrometheusRule with the same groups."""
    lines = rules[rules.index("groups:") :].splitlines()
    return _HEAD + "".join(f"  {line}".rstrip() + "\n" for line in lines)


if __name__ == "__main__":
    TARGET.write_text(as_resource(SOURCE.read_text(encoding="utf-8")), encoding="utf-8")
