"""Write the tables of docs/zoo.md from the zoo's entries: `make docs`."""

from __future__ import annotations

from collections.abc import Iterator

from elastic_yolo.lab.processes.stack import ROOT
from elastic_yolo.provision.zoo import ZooFile, ZooModel, find_zoo_model, zoo_names

PAGE = ROOT / "docs" / "zoo.md"
_HEADER = (
    "| name | network | classes | input | MB | GFLOP | accuracy, published | resize | digest |",
    "|---|---|---|---|---|---|---|---|---|",
)

_KINDS = {"sha1": "SHA-1", "md5": "MD5", "git_blob": "Git hash"}


def parts() -> dict[str, str]:
    """Return the generated parts of the page by name."""
    models = [find_zoo_model(name) for name in zoo_names()]
    return {
        "models": "\n".join([*_HEADER, *map(_row, models)]),
        "sources": "\n".join(_sources(models)),
    }


def page(text: str) -> str:
    """Return the page's text with its generated parts replaced."""
    for name, content in parts().items():
        before, begin, rest = text.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- /{name} -->\n")
        text = f"{before}{begin}\n{content}\n\n{end}{after}"
    return text


def _row(model: ZooModel) -> str:
    width, height = model.input
    accuracy = model.accuracy
    published = (
        "" if accuracy is None else f"{accuracy.value} {accuracy.metric}, {accuracy.dataset}"
    )
    cells = (
        f"`{model.name}`",
        model.title,
        model.classes,
        f"{width}x{height}",
        f"{model.weights.size / 1e6:.1f}",
        f"{model.gflop:.2f}",
        published,
        model.resize or "not known",
        _digest(model),
    )
    return f"| {' | '.join(map(str, cells))} |"


def _digest(model: ZooModel) -> str:
    weights = model.weights
    if weights.sha256:
        return f"SHA-256, {len(weights.stated_by)} stated"
    kinds = " and ".join(_KINDS[kind] for kind in weights.hashes)
    return f"first pull; {kinds} stated" if kinds else "first pull"


def _sources(models: list[ZooModel]) -> Iterator[str]:
    for model in models:
        licence = f"{model.licence}, {model.licence_source}"
        yield f"* `{model.name}`: {licence}."
        if isinstance(model.cfg, ZooFile):
            yield f"  `.cfg`: {', '.join(model.cfg.sources)}."
        if model.accuracy is not None:
            yield f"  Accuracy: {model.accuracy.source}."
        if model.weights.stated_by:
            yield f"  Digest: {'; '.join(model.weights.stated_by)}."


def main() -> None:
    """Replace the parts in place."""
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
