"""URLs of targets."""

from __future__ import annotations

import pytest

from loadtest.urls import describe_host, parse_url, without_user


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:5000", "https://yolo.example/yolo", "http://[::1]:5"]
)
def test_a_url_loses_its_last_slash(url: str) -> None:
    assert parse_url(f"{url}/") == url


@pytest.mark.parametrize(
    "text", ["127.0.0.1:5000", "ftp://host", "http://", "http://host:port", "http://host/?a=b", ""]
)
def test_other_texts_are_not_urls(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_url(text)


def test_users_and_passwords_are_not_shown() -> None:
    assert without_user("http://me:secret@host:5000/yolo") == "http://host:5000/yolo"


@pytest.mark.parametrize(
    ("url", "whose"),
    [
        ("http://127.0.0.1:5000", "127.0.0.1, this machine"),
        ("http://[::1]:5000", "::1, this machine"),
        ("http://192.168.49.2:30500", "192.168.49.2, a private network"),
        (
            "http://8.8.8.8",
            "8.8.8.8, a PUBLIC address: make sure that you are allowed to load-test it",
        ),
    ],
)
def test_the_host_of_a_load_is_described(url: str, whose: str) -> None:
    assert describe_host(url) == whose
