"""The pictures of an input: which ones, in which order, and what is no picture."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic_yolo.batch.errors import BadInput, StorageFailed
from elastic_yolo.batch.listing import pictures_of_list
from elastic_yolo.batch.pictures import KeptPictures, listing_digest, numbers_of, open_pictures
from elastic_yolo.batch.storage import MOST_PICTURE_BYTES, judged, read_picture
from elastic_yolo.picture.errors import PictureTooLarge


def write(folder: Path, *names: str | bytes) -> None:
    """Write files whose content is their name."""
    for name in map(os.fsencode, names):
        path = os.path.join(os.fsencode(folder), name)  # noqa: PTH118  # bytes
        os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
        with open(path, "wb") as file:  # noqa: PTH123
            file.write(name)


def test_a_folder_has_its_pictures_and_those_of_its_folders_in_order(tmp_path: Path) -> None:
    write(tmp_path, "b.JPG", "a/2.png", "a/10.webp", "c.bmp", "d.jpeg", "notes.md", "e.gif", "jpg")

    pictures = open_pictures(str(tmp_path))

    assert pictures.names == ["a/10.webp", "a/2.png", "b.JPG", "c.bmp", "d.jpeg"]
    assert [pictures.read(number) for number in range(5)] == [n.encode() for n in pictures.names]
    assert (pictures.sequential, pictures.remote) == (False, False)


def test_hidden_files_and_folders_are_left_out(tmp_path: Path) -> None:
    """Such as macOS's ._a.jpg, and the folder ..data of a ConfigMap that is mounted."""
    write(tmp_path, "._a.jpg", ".thumbnails/a.jpg", "b/.x/a.jpg", "..data/a.jpg", "a.jpg", ".jpg")

    assert open_pictures(str(tmp_path)).names == ["a.jpg"]
    assert open_pictures(f"{tmp_path}/**/*.jpg").names == ["a.jpg"]


def test_a_link_to_a_picture_is_one_and_a_link_to_a_folder_is_not_followed(tmp_path: Path) -> None:
    write(tmp_path, "pictures/a.jpg", "elsewhere/b.jpg")
    folder = tmp_path / "pictures"
    (folder / "link.jpg").symlink_to(tmp_path / "elsewhere" / "b.jpg")
    (folder / "gone.jpg").symlink_to(tmp_path / "nothing.jpg")
    (folder / "circle").symlink_to(folder)
    (folder / "folder.jpg").symlink_to(tmp_path / "elsewhere")

    assert open_pictures(str(folder)).names == ["a.jpg", "link.jpg"]


def test_what_is_no_file_is_no_picture_of_a_folder(tmp_path: Path) -> None:
    write(tmp_path, "a.jpg", "folder.jpg/b.jpg")
    os.mkfifo(tmp_path / "fifo.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.jpg"))

        assert open_pictures(str(tmp_path)).names == ["a.jpg", "folder.jpg/b.jpg"]


def test_names_may_be_any_bytes(tmp_path: Path) -> None:
    names = [
        "\u00e9t\u00e9.jpg".encode("latin-1"),
        "\u732b.jpg".encode(),
        b"new\nline.jpg",
        b"a b.jpg",
    ]
    write(tmp_path, *names)

    for address in (str(tmp_path), f"{tmp_path}/*.jpg"):
        pictures = open_pictures(address)

        assert sorted(map(os.fsencode, pictures.names)) == sorted(names)
        for number, name in enumerate(pictures.names):
            assert pictures.read(number) == os.fsencode(name)


def test_a_folder_that_cannot_be_listed_is_an_error_and_not_an_empty_one(tmp_path: Path) -> None:
    """Else its pictures would be lost without a word."""
    long = tmp_path / "deep"
    long.mkdir()
    here = os.open(long, os.O_RDONLY)
    # Deeper than a path may be long: listing it fails, for root as well.
    try:
        for _ in range(30):
            os.mkdir("x" * 200, dir_fd=here)
            below = os.open("x" * 200, os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
    finally:
        os.close(here)

    with pytest.raises(OSError, match="File name too long"):
        open_pictures(str(tmp_path))


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jpg", ["a.jpg", "b.jpg"]),
        ("[b-z].*", ["b.jpg", "c.png"]),
        ("sub/*", ["d.jpg"]),
        ("*/*.jpg", ["other/e.jpg", "sub/d.jpg"]),
        ("**/*.jpg", ["a.jpg", "b.jpg", "other/e.jpg", "sub/d.jpg"]),
    ],
)
def test_a_glob_finds_pictures_whose_names_begin_behind_its_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, expected: list[str]
) -> None:
    write(tmp_path, "a.jpg", "b.jpg", "c.png", "sub/d.jpg", "other/e.jpg", "notes.txt")
    monkeypatch.chdir(tmp_path)

    for address in (pattern, f"./{pattern}", f"{tmp_path}/{pattern}"):
        pictures = open_pictures(address)
        assert pictures.names == expected
        assert pictures.read(0).decode().endswith(expected[0])


def test_a_folder_with_the_signs_of_a_glob_is_a_folder(tmp_path: Path) -> None:
    write(tmp_path, "a[1]/x.jpg", "a1/y.jpg")

    assert open_pictures(f"{tmp_path}/a[1]").names == ["x.jpg"]


def test_one_file_is_an_input(tmp_path: Path) -> None:
    write(tmp_path, "a[1].jpg")

    assert open_pictures(f"{tmp_path}/a[1].jpg").names == ["a[1].jpg"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("nowhere", "no such file or folder: expected a folder, a glob"),
        ("notes.md", "expected a folder, a glob, a list file"),
        ("*.jpg", "no pictures: expected .bmp"),
        ("empty", "no pictures: expected .bmp"),
        ("gopher://host/pictures", "Protocol not known: gopher"),
    ],
)
def test_what_is_no_input_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, why: str
) -> None:
    write(tmp_path, "notes.md", "empty/notes.md")
    monkeypatch.chdir(tmp_path)

    with pytest.raises(BadInput, match=why.replace(".", r"\.")) as raised:
        open_pictures(name)
    assert str(raised.value).startswith(f"{name}: ")


def test_a_list_has_paths_beside_it_absolute_ones_and_urls(tmp_path: Path) -> None:
    write(tmp_path, "lists/a.jpg", "b.jpg", "c", "d.jpg")
    listed = ["a.jpg", "../b.jpg", str(tmp_path / "c"), (tmp_path / "d.jpg").as_uri(), "a.jpg"]
    path = tmp_path / "lists" / "all.txt"
    path.write_text("\n".join(listed))

    pictures = open_pictures(str(path))

    assert pictures.names == listed[:-1]
    assert [pictures.read(n)[-5:] for n in range(4)] == [b"a.jpg", b"b.jpg", b"c", b"d.jpg"]
    assert pictures.remote


def test_a_list_of_the_current_folder_is_relative_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "a.jpg")
    (tmp_path / "all.txt").write_text("a.jpg\n")
    monkeypatch.chdir(tmp_path)

    assert open_pictures("all.txt").read(0) == b"a.jpg"


def test_a_list_may_come_from_windows_and_have_the_line_ends_of_unicode_in_its_names(
    tmp_path: Path,
) -> None:
    path = tmp_path / "all.txt"
    path.write_bytes("\ufeffa.jpg\r\n\r\n  b c.jpg\t\r\nd\u2028e\x85\xa0.jpg\u2028\n".encode())

    assert list(pictures_of_list(str(path))) == ["a.jpg", "b c.jpg", "d\u2028e\x85\xa0.jpg\u2028"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("a.jpg\n".encode("utf-16"), "byte 0 is not UTF-8: expected a path or URL a line"),
        ("a.jpg\ncafé.jpg\n".encode("latin-1"), "byte 9 is not UTF-8"),
        (b"a.jpg\0b.jpg\0", "not a text file: expected a path or URL a line"),
        (b"\n \n", "no pictures"),
    ],
)
def test_a_list_in_another_encoding_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "all.txt"
    path.write_bytes(content)

    with pytest.raises(BadInput, match=why):
        open_pictures(str(path))


def test_a_url_is_a_folder_a_glob_a_list_or_one_picture() -> None:
    system = fsspec.filesystem("memory")
    for name in ("a.jpg", "sub/b.png", ".hidden.jpg", "notes.md"):
        system.pipe(f"/pictures-1/{name}", name.encode())
    system.pipe("/pictures-1/all.txt", b"a.jpg\nmemory://pictures-1/sub/b.png\n")

    found = {
        name: open_pictures(f"memory://pictures-1{name}")
        for name in ("", "/", "/sub", "/*.jpg", "/**/*.png", "/a.jpg", "/all.txt")
    }

    assert {name: one.names for name, one in found.items()} == {
        "": ["a.jpg", "sub/b.png"],
        "/": ["a.jpg", "sub/b.png"],
        "/sub": ["b.png"],
        "/*.jpg": ["a.jpg"],
        "/**/*.png": ["sub/b.png"],
        "/a.jpg": ["a.jpg"],
        "/all.txt": ["a.jpg", "memory://pictures-1/sub/b.png"],
    }
    for one in found.values():
        assert one.remote
        assert one.read(len(one.names) - 1).decode() in ("a.jpg", "sub/b.png")
    assert found[""].size(1) == len("sub/b.png")


def test_urls_may_be_chained(tmp_path: Path) -> None:
    import zipfile  # noqa: PLC0415

    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("in/a.jpg", b"content")

    pictures = open_pictures(f"zip://in/*.jpg::file://{tmp_path}/all.zip")

    assert pictures.names == ["a.jpg"]
    assert pictures.read(0) == b"content"


@given(st.integers(0, 300), st.integers(1, 40))
def test_the_pictures_of_all_processes_are_all_pictures_once(count: int, completions: int) -> None:
    dealt = [numbers_of(count, index, completions) for index in range(completions)]

    assert sorted(number for one in dealt for number in one) == list(range(count))
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1


@given(st.lists(st.text(max_size=3), max_size=4), st.lists(st.text(max_size=3), max_size=4))
def test_the_digest_of_names_tells_two_listings_apart(one: list[str], other: list[str]) -> None:
    one, other = ([name.replace("\0", "") for name in names] for names in (one, other))
    # The number of names is compared as well.
    if len(one) == len(other):
        assert (listing_digest(one) == listing_digest(other)) == (one == other)


def test_a_picture_that_is_gone_or_no_file_is_a_bad_one(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    write(tmp_path, "file")

    for name, kind in {
        "gone.jpg": FileNotFoundError,
        "folder.jpg": IsADirectoryError,
        "file/x.jpg": NotADirectoryError,
        f"{'x' * 300}.jpg": OSError,
        "zero\0byte.jpg": OSError,
    }.items():
        with pytest.raises(kind):
            read_picture(f"{tmp_path}/{name}")
    with pytest.raises(FileNotFoundError):
        read_picture(f"file://{tmp_path}/gone.jpg")


def test_folders_in_a_list_leave_no_files_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        with pytest.raises(IsADirectoryError):
            read_picture(str(tmp_path))

    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_fifo_or_a_device_does_not_stop_a_list(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.jpg")

    assert read_picture(str(tmp_path / "fifo.jpg")) == b""
    assert read_picture("/dev/zero") == b""


def test_an_absurdly_large_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "large.jpg").open("wb") as file:
        file.truncate(MOST_PICTURE_BYTES + 1)

    for address in (f"{tmp_path}/large.jpg", f"file://{tmp_path}/large.jpg"):
        with pytest.raises(PictureTooLarge, match="67,108,865 bytes: expected at most 67,108,864"):
            read_picture(address)
    pictures = open_pictures(f"file://{tmp_path}")
    with pytest.raises(PictureTooLarge):
        pictures.read(0)


@pytest.mark.parametrize(
    "number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE, errno.ENOMEM]
)
def test_what_a_storage_fails_with_is_no_bad_picture(number: int) -> None:
    with pytest.raises(StorageFailed, match=r"^/mnt/a.jpg: "), judged("/mnt/a.jpg"):
        raise OSError(number, os.strerror(number))


class _Answer(Exception):
    """An exception of botocore, as s3fs keeps it."""

    def __init__(self, code: str) -> None:
        self.response = {"Error": {"Code": code}}


@pytest.mark.parametrize(
    ("code", "kind"),
    [("AccessDenied", PermissionError), ("ExpiredToken", StorageFailed)],
)
def test_credentials_that_expire_do_not_make_bad_pictures(code: str, kind: type[Exception]) -> None:
    """S3 denies both; but only a new token ends the second."""
    with pytest.raises(kind, match=r"s3://bucket/a\.jpg"), judged("s3://bucket/a.jpg"):
        raise PermissionError("denied") from _Answer(code)


@pytest.mark.parametrize("error", [ConnectionResetError(), TimeoutError(), RuntimeError("closed")])
def test_a_network_that_fails_is_no_bad_picture(error: Exception) -> None:
    with pytest.raises(StorageFailed, match="s3://bucket"), judged("s3://bucket/a.jpg"):
        raise error


def test_content_is_kept_until_it_is_drawn_on(tmp_path: Path) -> None:
    write(tmp_path, "a.jpg", "b.jpg")
    kept = KeptPictures(open_pictures(str(tmp_path)))

    assert kept.read(1) == b"b.jpg"
    (tmp_path / "b.jpg").unlink()

    assert kept.take(1) == b"b.jpg"
    assert kept.take(1) is None
    assert kept.take(0) is None
