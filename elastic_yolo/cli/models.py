"""`elastic-yolo models`: list and pull the models of the zoo."""

from __future__ import annotations

import argparse
import json
from typing import Any

from elastic_yolo.progress import ProgressLine, print_status
from elastic_yolo.provision.zoo import cached_folder, find_zoo_model, pull, zoo_names


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("models", description="List and pull the models of the zoo.")
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    lister = actions.add_parser("list", help="print all models")
    lister.set_defaults(run=_list)
    puller = actions.add_parser("pull", help="download models into the cache")
    puller.add_argument("names", nargs="+", metavar="NAME")
    puller.set_defaults(run=_pull)
    path = actions.add_parser("path", help="print the folder of a pulled model")
    path.add_argument("name", metavar="NAME")
    path.set_defaults(run=_path)
    for action in (lister, puller, path):
        action.add_argument("--json", action="store_true", help="print JSON")


def _list(parsed: argparse.Namespace) -> int:
    models = [find_zoo_model(name) for name in zoo_names()]
    if parsed.json:
        print(json.dumps([model.model_dump(mode="json") for model in models], indent=2))
        return 0
    for model in models:
        print(model.name)
    return 0


def _pull(parsed: argparse.Namespace) -> int:
    for name in parsed.names:
        print(pull(name, ProgressLine()))
    return 0


def _path(parsed: argparse.Namespace) -> int:
    model = find_zoo_model(parsed.name)
    folder = cached_folder(model)
    if folder is None:
        print_status(
            f"elastic-yolo: {model.name} is not pulled: elastic-yolo models pull {model.name}"
        )
        return 1
    print(folder)
    return 0
