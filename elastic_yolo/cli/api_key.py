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
Make an API key for a client of the web service. The key is printed once, to standard error, and
stored nowhere: give it to the client. Standard output has the client's entry for the file that
API_KEYS_FILE names; the entry holds the SHA-256 of the key.
"""
# The client of ACCESS_TOKEN, which the web service accepts in no file.
_TAKEN = "access-token"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}")


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
    if not _NAME.fullmatch(parsed.name):
        raise CommandFailed(
            f"{parsed.name}: expected up to 63 letters, digits, '.', '_', '@' and '-'"
        )
    if parsed.name == _TAKEN:
        raise CommandFailed(f"{_TAKEN}: is the client of ACCESS_TOKEN, choose another name")
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
