"""The documentation names only what exists: links, anchors, make targets, paths, functions."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Folders whose names begin with a dot hold tools and caches, except this one.
HIDDEN_BUT_OURS = ".github"
# Created by a command, and ignored by git.
GENERATED_FOLDERS = frozenset(
    {".cache", ".venv", "build", "demo-output", "load-report", "model-store", "node_modules"}
)
# Paths that a page names on purpose although the repository does not hold them.
NOT_IN_THE_REPOSITORY = frozenset(
    {
        "docs/models.second.yaml",  # a reader creates it: docs/model-versions.md
        "docs/protocol/extension_binary_data.md",  # in Triton's server repository
        "docs/protocol/extension_model_repository.md",
        "docs/protocol/extension_statistics.md",
    }
)

_FENCE = re.compile(r"(?ms)^(?P<fence>```+|~~~+)[^\n]*\n(?P<code>.*?)^(?P=fence)[ \t]*$")
_SPAN = re.compile(r"(?<!`)`([^`\n]+(?:\n[^`\n]+)?)`(?!`)")
_LINK = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)")
_HEADING = re.compile(r"(?m)^#{1,6}\s+(.*?)\s*#*$")
# A command of make, behind variables or another command, and everything that it is given.
_MAKE = re.compile(r"(?m)(?:^|[;&|]\s*)\s*(?:[A-Z_]+=\S+\s+)*make((?:[ \t]+(?:\w+=\S+|[\w.-]+))+)")
_FILE = re.compile(r"[\w.@-]+(?:/[\w.@-]+)*/[\w.@-]+\.[A-Za-z][A-Za-z0-9]{0,7}")
_NAME_IN_FILE = re.compile(r"([\w./-]+\.py):([A-Za-z_][\w.]*)(?:\(\))?")
_PAGE_IN_CODE = re.compile(r"(?<![\w/])docs/[\w./-]+\.(?:md|yaml|py|jpg|png)\b")


@dataclass(frozen=True)
class Page:
    """A Markdown file, with its code blocks apart from its text."""

    path: Path

    @property
    def name(self) -> str:
        return str(self.path.relative_to(ROOT))

    @property
    def source(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @property
    def prose(self) -> str:
        """The text without fenced code blocks."""
        return _FENCE.sub("", self.source)

    @property
    def blocks(self) -> str:
        """Fenced and indented code blocks."""
        fenced = [found["code"] for found in _FENCE.finditer(self.source)]
        indented = [line.strip() for line in self.prose.splitlines() if line.startswith("    ")]
        return "\n".join([*fenced, *indented])

    @property
    def spans(self) -> list[str]:
        """What stands in backticks."""
        return [" ".join(span.split()) for span in _SPAN.findall(self.prose)]

    @property
    def links(self) -> list[str]:
        """Targets of links and pictures, in the order of the text."""
        return _LINK.findall(_SPAN.sub("code", self.prose))

    def exists(self, path: str) -> bool:
        """Whether a path exists, seen from the root of the repository or from this page."""
        return (ROOT / path).exists() or (self.path.parent / path).exists()


def files(*suffixes: str) -> Iterator[Path]:
    """Yield the files of the repository that have one of the suffixes."""
    folders = [ROOT]
    while folders:
        for path in sorted(folders.pop().iterdir()):
            if path.is_dir():
                hidden = path.name.startswith(".") and path.name != HIDDEN_BUT_OURS
                if not hidden and path.name not in GENERATED_FOLDERS:
                    folders.append(path)
            elif path.suffix in suffixes:
                yield path


PAGES = [Page(path) for path in files(".md")]
EACH_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@cache
def anchors(path: Path) -> frozenset[str]:
    """Return the anchors that a page's headings have on GitHub."""
    taken: dict[str, int] = {}
    found = set()
    for heading in _HEADING.findall(_FENCE.sub("", path.read_text(encoding="utf-8"))):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        times = taken.get(slug, 0)
        taken[slug] = times + 1
        found.add(f"{slug}-{times}" if times else slug)
    return frozenset(found)


@cache
def make_targets() -> frozenset[str]:
    lines = (ROOT / "Makefile").read_text(encoding="utf-8").splitlines()
    return frozenset(
        target
        for line in lines
        if re.match(r"[\w./%-]+(?: [\w./%-]+)*:(?!=)", line)
        for target in line.partition(":")[0].split()
    )


def named_targets(page: Page) -> set[str]:
    """Return what the commands of a page have make do."""
    commands = re.sub(r'"[^"\n]*"', "quoted", "\n".join([page.blocks, *page.spans]))
    return {
        word
        for arguments in _MAKE.findall(commands)
        for word in arguments.split()
        if "=" not in word and not word.startswith("-")
    }


@cache
def names_in(path: Path) -> frozenset[str]:
    """Return what a module defines: `function`, `Class`, `Class.method`, `CONSTANT`."""
    found = set()

    def collect(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            match node:
                case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                    found.add(prefix + node.name)
                    collect(node.body, f"{prefix}{node.name}.")
                case ast.Assign(targets=targets):
                    found.update(prefix + one.id for one in targets if isinstance(one, ast.Name))
                case ast.AnnAssign(target=ast.Name(id=name)):
                    found.add(prefix + name)
                case ast.If() | ast.With() | ast.Try():
                    collect(node.body, prefix)
                case _:
                    pass

    collect(ast.parse(path.read_text(encoding="utf-8")).body, "")
    return frozenset(found)


@EACH_PAGE
def test_every_relative_link_leads_to_a_file_and_an_anchor(page: Page) -> None:
    broken = []
    for link in page.links:
        if re.match(r"[a-z][a-z0-9+.-]*:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.path.parent / path).resolve() if path else page.path
        if not target.exists():
            broken.append(f"{link}: no such file")
        elif anchor and (target.suffix != ".md" or anchor not in anchors(target)):
            broken.append(f"{link}: no such heading")

    assert broken == []


@EACH_PAGE
def test_every_make_target_in_the_docs_exists(page: Page) -> None:
    assert named_targets(page) - make_targets() == set()


@EACH_PAGE
def test_every_path_in_backticks_exists(page: Page) -> None:
    """A path is what names a file of a folder, or begins with a folder of the repository."""
    roots = {path.name for path in ROOT.iterdir() if path.is_dir()} - GENERATED_FOLDERS
    missing = {
        span
        for span in page.spans
        if span.split("/")[0] not in GENERATED_FOLDERS
        if _FILE.fullmatch(span)
        or re.fullmatch(rf"(?:{'|'.join(map(re.escape, roots))})/[\w./-]+", span)
        if not page.exists(span)
    }

    assert missing - NOT_IN_THE_REPOSITORY == set()


@EACH_PAGE
def test_every_module_named_without_its_folder_exists(page: Page) -> None:
    named = {span for span in page.spans if re.fullmatch(r"\w+\.py", span)}

    assert named - {path.name for path in files(".py")} == set()


@EACH_PAGE
def test_every_name_after_a_path_is_defined_in_that_file(page: Page) -> None:
    """Pages name code as `folder/module.py:Class.method`."""
    missing = []
    for span in page.spans:
        found = _NAME_IN_FILE.fullmatch(span)
        if found is None:
            continue
        path, name = ROOT / found[1], found[2]
        if not path.is_file() or name not in names_in(path):
            missing.append(span)

    assert missing == []


def test_every_page_that_the_code_names_exists() -> None:
    """Docstrings, comments and messages send a reader to pages."""
    missing = {
        page: str(path.relative_to(ROOT))
        for path in files(".py", ".yaml", ".yml", ".sh", ".toml", ".html", ".json")
        if path != Path(__file__)
        for page in _PAGE_IN_CODE.findall(path.read_text(encoding="utf-8"))
        if not (ROOT / page).exists() and page not in NOT_IN_THE_REPOSITORY
    }

    assert missing == {}


def test_every_page_in_docs_is_reached_from_the_readme() -> None:
    """By links alone, so that a reader finds it without a search."""
    reached, ahead = set(), [ROOT / "README.md"]
    while ahead:
        path = ahead.pop()
        if path in reached:
            continue
        reached.add(path)
        if path.suffix == ".md":
            for link in Page(path).links:
                target = (path.parent / link.partition("#")[0]).resolve()
                if target.is_dir() and target.name == "decisions":
                    ahead.extend(target.glob("*.md"))
                elif target.is_file():
                    ahead.append(target)

    assert {page.name for page in PAGES if page.path.parts[-2] == "docs"} <= {
        str(path.relative_to(ROOT)) for path in reached if path.is_relative_to(ROOT)
    }


@pytest.mark.parametrize(
    ("text", "link"),
    [
        ("[a page](docs/none.md)", "docs/none.md"),
        ("![a picture](none.jpg)", "none.jpg"),
        ("[`code`](none.py)", "none.py"),
    ],
)
def test_a_broken_link_is_found(tmp_path: Path, text: str, link: str) -> None:
    path = tmp_path / "page.md"
    path.write_text(text + "\n\n```sh\n[not](a-link)\n```\n", encoding="utf-8")

    assert Page(path).links == [link]


def test_make_targets_are_found_in_commands_and_not_in_prose(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(
        "To make sense, `make alone`:\n\n    THREADS=1 make up INFERENCE=3   # make it so\n\n"
        '```sh\ncd x && make demo A="b c" test\nmake -j lint; make e2e\n```\n',
        encoding="utf-8",
    )

    assert named_targets(Page(path)) == {"alone", "up", "demo", "test", "lint", "e2e"}
