"""`elastic-yolo models`: list and pull the models of the zoo."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from elastic_yolo.cli.errors import failing_on_provision_errors
from elastic_yolo.cli.options import pull_from_zoo
from elastic_yolo.progress import print_status
from elastic_yolo.provision.zoo import (
    ZooModel,
    cached_folder,
    find_zoo_model,
    models_folder,
    zoo_names,
)

_DESCRIPTION = """\
List and pull the models of the zoo: Darknet's published networks, by name. A pulled model is a
model folder in the cache ($XDG_CACHE_HOME/elastic-yolo/models, by default in ~/.cache). Every
command that takes a model folder also takes a name of the zoo, and pulls it once.
"""
_HEADER = f"{'name':<29}{'classes':>7} {'input':>9} {'MB':>6} {'GFLOP':>6} {'mAP@0.5':>7}  cached"


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "models", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    lister = actions.add_parser(
        "list",
        help="print all models",
        description="Print all models: classes, size of the input, megabytes of the weights, GFLOP "
        "for one picture, and the mAP@0.5 in percent as the authors published it (on COCO; models "
        "with 20 classes: on Pascal VOC 2007).",
    )
    lister.set_defaults(run=_list)
    puller = actions.add_parser(
        "pull",
        help="download models into the cache",
        description="Download models into the cache, check their digests, and print their folders. "
        "A model that is there needs no network, and is downloaded again only if a file is "
        "damaged; an interrupted download is resumed.",
    )
    puller.add_argument("names", nargs="+", metavar="NAME", help="name of a model")
    puller.set_defaults(run=_pull)
    path = actions.add_parser(
        "path",
        help="print the folder of a pulled model",
        description="Print the folder of a pulled model. The exit status is 1 if it is not pulled.",
    )
    path.add_argument("name", metavar="NAME", help="name of a model")
    path.set_defaults(run=_path)
    for action in (lister, puller, path):
        action.add_argument("--json", action="store_true", help="print JSON")


def _list(parsed: argparse.Namespace) -> int:
    models = [find_zoo_model(name) for name in zoo_names()]
    if parsed.json:
        print(json.dumps([_as_json(model) for model in models], indent=2))
        return 0
    print(_HEADER)
    for model in models:
        print(_row(model))
    print_status(f"the cache is {models_folder()}; ?: no project states the SHA-256")
    return 0


def _row(model: ZooModel) -> str:
    width, height = model.input
    score = f"{model.accuracy.value:.1f}" if model.accuracy else "-"
    where = "yes" if cached_folder(model) else "no"
    mark = "" if model.weights.digest else " ?"
    return (
        f"{model.name:<29}{model.classes:>7} {f'{width}x{height}':>9} "
        f"{model.weights.size / 1e6:>6.1f} {model.gflop:>6.1f} {score:>7}  {where}{mark}"
    )


def _as_json(model: ZooModel) -> dict[str, Any]:
    return {**model.model_dump(mode="json", exclude={"golden"}), "folder": _text(model)}


def _text(model: ZooModel) -> str | None:
    folder = cached_folder(model)
    return None if folder is None else str(folder)


def _pull(parsed: argparse.Namespace) -> int:
    models = [_find(name) for name in parsed.names]
    folders: dict[str, Path] = {}
    for model in models:
        folders[model.name] = pull_from_zoo(model.name, check_digests=True)
        if not parsed.json:
            print(folders[model.name], flush=True)
    if parsed.json:
        print(json.dumps([{"name": name, "folder": str(at)} for name, at in folders.items()]))
    return 0


def _path(parsed: argparse.Namespace) -> int:
    model = _find(parsed.name)
    folder = cached_folder(model)
    if parsed.json:
        print(json.dumps({"name": model.name, "folder": _text(model)}))
    elif folder is not None:
        print(folder)
    if folder is None:
        print_status(
            f"elastic-yolo: {model.name} is not in the cache: elastic-yolo models pull {model.name}"
        )
    return 0 if folder else 1


def _find(name: str) -> ZooModel:
    with failing_on_provision_errors():
        return find_zoo_model(name)
