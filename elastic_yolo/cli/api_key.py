"""`elastic-yolo api-key`: make a key for a client of the web service."""

from __future__ import annotations

import argparse
import json
from typing import Any

from elastic_yolo.api_key import (
    ACCESS_TOKEN_CLIENT,
    CLIENT_NAME,
    CLIENT_NAME_RULE,
    key_digest,
    new_key,
)
from elastic_yolo.cli.errors import CommandFailed
from elastic_yolo.names import NAME, NAME_RULE
from elastic_yolo.progress import print_status

_DESCRIPTION = """\
Make an API key for a client of the web service. The key is printed once, to standard error, and
stored nowhere: give it to the client. Standard output has the client's entry for the file that
API_KEYS_FILE names; the entry holds the SHA-256 of the key.
"""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "api-key", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", metavar="NAME", help="name of the client in log lines and metrics")
    parser.add_argument(
        "--models",
        metavar="A,B",
        help="the models that the client may use, its default model first (default: all)",
    )
    parser.add_argument(
        "--json", action="store_true", help="print the key and the entry of the file as JSON"
    )
    parser.set_defaults(run=_run)


def _run(parsed: argparse.Namespace) -> int:
    if not CLIENT_NAME.fullmatch(parsed.name):
        raise CommandFailed(f"NAME {parsed.name!r}: expected {CLIENT_NAME_RULE}")
    if parsed.name == ACCESS_TOKEN_CLIENT:
        raise CommandFailed(f"{parsed.name}: is the client of ACCESS_TOKEN, choose another name")
    models = parsed.models.split(",") if parsed.models is not None else []
    for model in models:
        if not NAME.fullmatch(model):
            raise CommandFailed(f"--models {model!r}: expected {NAME_RULE}")
    key = new_key()
    client: dict[str, Any] = {"name": parsed.name, "keys": [{"sha256": key_digest(key)}]}
    if models:
        client["models"] = models
    if parsed.json:
        print(json.dumps({"key": key, "client": client}))
        return 0
    print_status(f"key of {parsed.name}, shown only now: {key}")
    print(f"  - name: {parsed.name}")
    print(f"    keys:\n      - sha256: {key_digest(key)}")
    if models:
        print(f"    models: [{', '.join(models)}]")
    return 0
