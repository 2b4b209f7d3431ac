"""Transcripts are read from pages, and a response that differs from its page is found."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.labs.terminal import Terminal
from tests.labs.transcript import Mismatch, Step, find_mismatch, read_steps

PAGE = """# A lab

```console terminal=services stays
$ cd client
$ serve
ready
```

<details>

```console about status=2
$ cat <<'END' |
> one
>
> END
> wc -l
2
> 3
```

```sh
$ not a transcript
```
"""


def step(*shown: str, about: bool = False) -> Step:
    return Step(1, "command", shown, about=about)


def test_a_page_is_read_step_by_step(tmp_path: Path) -> None:
    page = tmp_path / "lab.md"
    page.write_text(PAGE)

    assert read_steps(page) == [
        Step(4, "cd client", (), "services"),
        Step(5, "serve", ("ready",), "services", stays=True),
        Step(12, "cat <<'END' |\none\n\nEND\nwc -l", ("2", "> 3"), about=True, status=2),
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("```console stay\n$ ls\n```\n", "unknown words stay"),
        ("```console\nls\n```\n", "line 2: a response without a command"),
    ],
)
def test_a_page_with_a_mistake_is_refused(tmp_path: Path, text: str, why: str) -> None:
    page = tmp_path / "lab.md"
    page.write_text(text)

    with pytest.raises(ValueError, match=why):
        read_steps(page)


@pytest.mark.parametrize(
    ("shown", "response"),
    [
        ((), []),
        (("one", "two"), ["one", "two"]),
        (("a  table", "   1 2"), ["a table", "1   2  "]),
        (("...",), []),
        (("...", "end"), ["one", "end", "two", "end"]),
        (("found ... of 24",), ["found 23 of 24"]),
        (("a (b) [c]* ...",), ["a (b) [c]* d"]),
        (("one", "...", "two", "..."), ["one", "two", "three"]),
    ],
)
def test_a_response_fits_its_page(shown: tuple[str, ...], response: list[str]) -> None:
    assert find_mismatch(step(*shown), response) is None


@pytest.mark.parametrize(
    ("shown", "response", "mismatch"),
    [
        ((), ["one"], Mismatch("", 0)),
        (("one",), [], Mismatch("one", 0)),
        (("one", "two"), ["one", "three"], Mismatch("two", 1)),
        (("one",), ["one", "two"], Mismatch("", 1)),
        (("...", "end"), ["one", "two"], Mismatch("end", 0)),
        (("found ... of 24",), ["found 23 of 25"], Mismatch("found ... of 24", 0)),
        (("found 24",), ["found 23"], Mismatch("found 24", 0)),
        (("ab",), ["a b"], Mismatch("ab", 0)),
    ],
)
def test_a_response_that_differs_is_found(
    shown: tuple[str, ...], response: list[str], mismatch: Mismatch
) -> None:
    assert find_mismatch(step(*shown), response) == mismatch


def test_about_lets_numbers_differ_and_nothing_else() -> None:
    shown = step("took 1.5 ms, 12,000 pictures", about=True)

    assert find_mismatch(shown, ["took 210 ms, 7 pictures"]) is None
    assert find_mismatch(shown, ["took long, 7 pictures"]) is not None
    assert find_mismatch(shown, ["took 210 s, 7 pictures"]) is not None


def test_a_response_that_goes_on_fits_what_the_page_shows_of_it() -> None:
    assert find_mismatch(step("ready"), ["ready", "a request"], is_complete=False) is None


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    (tmp_path / "scripts").mkdir()
    with Terminal(tmp_path, tmp_path / "scripts", {"PATH": os.environ["PATH"]}) as opened:
        yield opened


def test_a_terminal_keeps_folder_and_variables(terminal: Terminal) -> None:
    for command in ("mkdir lab", "cd lab", "name=value"):
        terminal.type(command)
        assert terminal.wait_for_end(60) == 0
    terminal.type('basename "$PWD"\nprintf "%s without an end of line" "$name"')
    assert terminal.wait_for_end(60) == 0

    assert terminal.response() == ["lab", "value without an end of line"]


def test_a_terminal_reports_the_status_and_goes_on(terminal: Terminal) -> None:
    terminal.type("ls missing")
    assert terminal.wait_for_end(60) == 2
    terminal.type("echo on")
    assert terminal.wait_for_end(60) == 0

    assert terminal.response() == ["on"]


def test_the_interrupt_key_ends_the_command_and_not_the_terminal(terminal: Terminal) -> None:
    terminal.type("bash -c 'echo begun; exec sleep 600'; echo not run")
    assert terminal.wait_for_more(0, until=time.monotonic() + 60)
    with pytest.raises(TimeoutError):
        terminal.wait_for_end(0)
    terminal.interrupt()
    assert terminal.wait_for_end(60) == 130
    terminal.type("echo on")
    assert terminal.wait_for_end(60) == 0

    assert terminal.response() == ["on"]
