"""The tab `Replicas` on locust's page: what the timeline file says, while it is being written.

Locust's page takes tables of others through `template_args` and `/stats/requests`. A chart it does
not take, so that a script of ours draws one below its page while the tab is open.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from flask import Blueprint, Response, jsonify, request

from autoscaler.timeline import Sample, parse_sample

KEY = "replicas"
# What the chart shows: a quarter of an hour of three tiers at a line a second.
_MOST_SAMPLES = 2700
_COLUMNS = {
    "name": "Tier", "replicas": "Pods", "ready": "Ready", "desired": "Desired",
    "cpu": "CPU (% of request)", "target": "Target (%)", "why": "Why",
}  # fmt: skip


class Follower:
    """Reads what is added to a timeline file, and keeps the newest of it."""

    def __init__(self, path: Path) -> None:
        """Read nothing yet; the file need not be there."""
        self._path = path
        self._file: TextIO | None = None
        self._part = ""
        self.samples: deque[Sample] = deque(maxlen=_MOST_SAMPLES)
        self.fault: str | None = None

    def read(self) -> None:
        """Take what has come; what is no sample becomes `fault`, and the rest is still read."""
        try:
            self._begin_again_if_replaced()
            if self._file is None:
                self._file = self._path.open(encoding="utf-8")
            text = self._part + self._file.read()
        except (OSError, UnicodeDecodeError) as error:
            self.fault = f"{self._path}: {getattr(error, 'strerror', None) or error}"
            return
        self.fault = None
        *lines, self._part = text.split("\n")
        for line in filter(None, lines):
            try:
                self.samples.append(parse_sample(line))
            except ValueError as error:
                self.fault = f"{self._path}: {error}"

    def newest(self) -> list[Sample]:
        """Return the newest sample of each tier."""
        return list({sample.tier: sample for sample in self.samples}.values())

    def _begin_again_if_replaced(self) -> None:
        if self._file is None:
            return
        size = self._path.stat()
        ours = self._file.seekable() and self._file.tell()
        if size.st_size < ours:
            self._file.close()
            self._file = None
            self._part = ""
            self.samples.clear()


def add_replicas(web_ui: Any, timeline: Path) -> None:
    """Add the tab, its data and its script to a page that does not serve yet."""
    follower = Follower(timeline)
    script = Path(__file__).with_name("replicas.js").read_text(encoding="utf-8")
    blueprint = Blueprint(KEY, __name__)

    def data() -> Response:
        follower.read()
        samples = [asdict(sample) for sample in follower.samples]
        return jsonify({"samples": samples, "fault": follower.fault})

    def script_file() -> Response:
        return Response(script, mimetype="text/javascript")

    def extend(response: Response) -> Response:
        if request.path.endswith("/stats/requests") and response.is_json:
            follower.read()
            stats = {"key": KEY, "data": [_row(sample) for sample in follower.newest()]}
            response.set_data(json.dumps({**response.json, "extended_stats": [stats]}))
        elif request.endpoint == "locust.index" and response.status_code == 200:
            html = response.get_data(as_text=True)
            tag = f'<script src="{KEY}/chart.js" defer></script></body>'
            response.set_data(html.replace("</body>", tag))
        return response

    blueprint.add_url_rule(f"/{KEY}/data", view_func=web_ui.auth_required_if_enabled(data))
    blueprint.add_url_rule(f"/{KEY}/chart.js", view_func=script_file)
    web_ui.app.register_blueprint(blueprint)
    web_ui.app.after_request(extend)
    web_ui.template_args["extended_tabs"] = [{"title": "Replicas", "key": KEY}]
    structure = [{"key": key, "title": title} for key, title in _COLUMNS.items()]
    web_ui.template_args["extended_tables"] = [{"key": KEY, "structure": structure}]


def _row(sample: Sample) -> dict[str, Any]:
    unknown = "unknown"
    return {
        "name": sample.tier,
        "replicas": sample.replicas,
        "ready": sample.ready,
        "desired": sample.desired,
        "cpu": unknown if sample.cpu_percent is None else round(sample.cpu_percent),
        "target": unknown if sample.target_percent is None else sample.target_percent,
        "why": sample.why,
    }
