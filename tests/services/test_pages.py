"""The files of web's pages, as a browser gets them."""

from __future__ import annotations

import re

import httpx
import pytest

from elastic_yolo.lab.processes.stack import ROOT

STATIC = ROOT / "services" / "web" / "static"
FILES = sorted(path.name for path in STATIC.iterdir())
PAGES = [name for name in FILES if name.endswith(".html")]


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_sent_with_a_type_and_a_strict_policy(web: httpx.Client, name: str) -> None:
    response = web.get(f"/static/{name}")

    assert response.status_code == 200
    assert response.content == (STATIC / name).read_bytes()
    assert response.headers["Content-Type"].partition("/")[0] in ("text", "image")
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
    assert "unsafe" not in policy


def test_a_file_that_has_not_changed_is_not_sent_again(web: httpx.Client) -> None:
    first = web.get("/")
    again = web.get("/", headers={"If-None-Match": first.headers["ETag"]})

    assert (again.status_code, again.content) == (304, b"")
    assert first.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize(
    "name", ["absent.js", "..%2Fpages.py", "../pages.py", "%2e%2e/pages.py", "", "index.html/"]
)
def test_no_other_file_is_sent(web: httpx.Client, name: str) -> None:
    assert web.get(f"/static/{name}").status_code == 404


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_no_inline_code_and_names_only_its_own_files(name: str) -> None:
    page = (STATIC / name).read_text()

    assert re.findall(r"<style|\sstyle=|\son\w+=|javascript:", page) == []
    assert all("src=" in script for script in re.findall(r"<script[^>]*>", page))
    assert re.findall(r'(?:src|href)="(?:https?:)?//', page) == []
    for file in re.findall(r'(?:src|href)="static/([^"]+)"', page):
        assert (STATIC / file).exists(), file


def test_scripts_make_no_markup_of_text() -> None:
    for path in (STATIC / name for name in FILES if name.endswith(".js")):
        unsafe = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function"
        assert not re.search(unsafe, path.read_text()), path.name
