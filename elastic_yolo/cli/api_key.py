"""`elastic-yolo api-key`: make a key for a client of the web service."""

from __future__ import annotations

import argparse
import json
import re
from typing import Any

from elastic_yolo.api_key import key_digest, new_key
from elastic_yolo.cli.errors import CommandFailed
from elastic_yolo.progress import print_status

_DESCRIPTION = """\
Make an API key for a client of the web service. The key is printed once and stored nowhere: give it
to the client. The other lines are for the file that API_KEYS_FILE names, which has its SHA-256.
"""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}")


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "api-key", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", metavar="NAME", help="name of the client, as logs shall have it")
    parser.add_argument(
        "--models", metavar="A,B", help="the models that it may use, its default first"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_run)


def _run(parsed: argparse.Namespace) -> int:
    if not _NAME.fullmatch(parsed.name):
        raise CommandFailed(
            f"{parsed.name}: expected up to 63 letters, digits, '.', '_', '@' and '-'"
        )
    key = new_key()
    client: dict[str, Any] = {"name": parsed.name, "keys": [{"sha256": key_digest(key)}]}
    if parsed.models:
        client["models"] = parsed.models.split(",")
    if parsed.json:
        print(json.dumps({"key": key, "client": client}))
        return 0
    print_status(f"key of {parsed.name}, shown only now: {key}")
    print(f"  - name: {parsed.name}")
    print(f"    keys:\n      - sha256: {key_digest(key)}")
    if parsed.models:
        print(f"    models: [{', '.join(client['models'])}]")
    return 0
