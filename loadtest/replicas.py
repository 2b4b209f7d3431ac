"""The tab `Replicas` on locust's page: what the timeline file says, while it is being written.

Locust's page accepts extra tables, through `template_args` and `/stats/requests`, but no charts, so
our script draws one below its page while the tab is open.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, jsonify, request

from elastic_yolo.lab.timeline import Sample
from loadtest.follower import Follower

KEY = "replicas"
_COLUMNS = {
    "name": "Tier", "replicas": "Pods", "ready": "Ready", "desired": "Desired",
    "cpu": "CPU (% of request)", "target": "Target (%)", "why": "Why",
}  # fmt: skip


def add_replicas(web_ui: Any, timeline: Path, prefix: str | None) -> None:
    """Add the tab, its data and its script to a page that does not serve yet.

    `prefix` is the path below which locust serves it, if not the root.
    """
    follower = Follower(timeline)
    script = Path(__file__).with_name("replicas.js").read_text(encoding="utf-8")
    blueprint = Blueprint(KEY, __name__, url_prefix=prefix or None)

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
