"""A small collector of traces: keeps spans in a file, and prints one trace as a tree.

python docs/labs/06-traces.py collect traces.jsonl
python docs/labs/06-traces.py show traces.jsonl 4bf92f3577b34da6a3ce929d0e0e4736
python docs/labs/06-traces.py show traces.jsonl slowest
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

PORT = 4318
# The services send their spans after some time, each by itself.
FIRST_LOOK_S = 1
PATIENCE_S = 15

Span = dict[str, Any]


def main() -> int:
    """Run the command line; the exit status is 1 if there is no such trace."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("action", choices=["collect", "show"])
    parser.add_argument("file", type=Path)
    parser.add_argument("trace", nargs="?", default="", help="id of a trace, or how it begins")
    options = parser.parse_args()
    if options.action == "collect":
        collect(options.file)
        return 0
    time.sleep(FIRST_LOOK_S)
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        spans = choose(read(options.file), options.trace)
        if is_complete(spans):
            print("\n".join(tree(spans)))  # noqa: T201
            return 0
        time.sleep(0.2)
    print(f"no complete trace: {options.trace}", file=sys.stderr)  # noqa: T201
    return 1


def collect(file: Path) -> None:
    """Append every span that arrives to `file`, until Ctrl-C."""
    with file.open("a", encoding="utf-8", buffering=1) as lines:

        class Handler(BaseHTTPRequestHandler):
            """Takes OTLP over HTTP."""

            def do_POST(self) -> None:
                """Keep the spans of one request."""
                body = self.rfile.read(int(self.headers["Content-Length"]))
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    service = values(resource.resource.attributes)["service.name"]
                    for scope in resource.scope_spans:
                        for span in scope.spans:
                            lines.write(json.dumps(to_dict(str(service), span)) + "\n")
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        print(f"collecting spans on port {PORT}", flush=True)  # noqa: T201
        # Every line is in the file already, so Ctrl-C may end the process at once.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        HTTPServer(("127.0.0.1", PORT), Handler).serve_forever()


def to_dict(service: str, span: Any) -> Span:
    """Return what this lab shows of a span; times in nanoseconds."""
    return {
        "trace": span.trace_id.hex(),
        "id": span.span_id.hex(),
        "parent": span.parent_span_id.hex(),
        "service": service.removeprefix("elastic-yolo-"),
        "name": span.name,
        "kind": ["", "INTERNAL", "SERVER", "CLIENT"][span.kind],
        "begin": span.start_time_unix_nano,
        "end": span.end_time_unix_nano,
        "status": values(span.attributes).get("http.response.status_code"),
        "error": values(span.attributes).get("error.type"),
    }


def values(attributes: Any) -> dict[str, Any]:
    """Return attributes by name."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


def read(file: Path) -> list[Span]:
    """Return all spans of a file, except a line that is being written."""
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def choose(spans: list[Span], prefix: str) -> list[Span]:
    """Return the spans of the slowest trace whose id begins with `prefix`, by their begin."""
    roots = [
        one for one in spans if one["trace"].startswith(prefix) and one["name"] == "POST /inference"
    ]
    if not roots:
        return []
    trace = max(roots, key=lambda one: one["end"] - one["begin"])["trace"]
    return sorted((one for one in spans if one["trace"] == trace), key=lambda one: one["begin"])


def is_complete(spans: list[Span]) -> bool:
    """Return whether the first span is of web, and every request with a response has its spans."""
    parents = {one["parent"] for one in spans}
    answered = {one["id"] for one in spans if one["kind"] == "CLIENT" and one["status"]}
    return bool(spans) and answered <= parents


def tree(spans: list[Span]) -> list[str]:
    """Return a line for each span: when it began, how long it took, and what it was."""
    first = spans[0]
    depths = {first["parent"]: -1}
    lines = ["   at ms   took ms  service     span"]
    for one in spans:
        depths[one["id"]] = depth = depths.get(one["parent"], 0) + 1
        at, took = (one["begin"] - first["begin"]) / 1e6, (one["end"] - one["begin"]) / 1e6
        notes = [one["kind"], one["status"] and str(one["status"]), one["error"]]
        said = " ".join(note for note in notes if note and note != "INTERNAL")
        name = f"{'  ' * depth}{one['name']}"
        lines.append(f"{at:8.1f}  {took:8.1f}  {one['service']:10}  {name}  {said}".rstrip())
    return lines


if __name__ == "__main__":
    sys.exit(main())
