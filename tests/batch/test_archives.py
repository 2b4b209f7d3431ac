"""Pictures in archives: zip, and tar in every compression."""

from __future__ import annotations

import errno
import io
import os
import random
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic_yolo.batch.archives import TarPictures, ZipPictures
from elastic_yolo.batch.errors import BadInput, StorageFailed
from elastic_yolo.batch.pictures import Pictures, open_pictures
from elastic_yolo.batch.storage import MOST_PICTURE_BYTES
from elastic_yolo.picture.errors import PictureError, PictureTooLarge, PictureUndecodable

NAMES = ["b.jpg", "a/1.png", "./c.webp", "notes.md", ".hidden.jpg", "__MACOSX/._b.jpg", "a/b.jpg"]
EXPECTED = ["b.jpg", "a/1.png", "c.webp", "a/b.jpg"]
TARS = {".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.bz2": "w:bz2", ".tar.xz": "w:xz"}


def content(name: str) -> bytes:
    """Return what is in a member; it does not compress."""
    return random.Random(name).randbytes(5000)  # noqa: S311


def write_zip(path: Path, names: list[str], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.mkdir("folder.jpg")
        for name in names:
            archive.writestr(name, content(name))
    return path


def write_tar(path: Path, members: list[tuple[str, bytes]], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


Opening = Callable[[str], Pictures]


@pytest.fixture
def opening() -> Iterator[Opening]:
    """Return what opens pictures until the test ends."""
    with ExitStack() as stack:
        yield lambda address: stack.enter_context(closing(open_pictures(address)))


def read_all(pictures: Pictures) -> dict[str, bytes]:
    return {name: pictures.read(number) for number, name in enumerate(pictures.names)}


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_a_zip_has_its_pictures_in_its_order(tmp_path: Path, opening: Opening, method: int) -> None:
    pictures = opening(str(write_zip(tmp_path / "all.ZIP", NAMES, method)))

    assert pictures.names == EXPECTED
    assert read_all(pictures) == {
        name: content(f"./{name}" if name == "c.webp" else name) for name in EXPECTED
    }
    assert pictures.size(0) == 5000
    assert not pictures.sequential


@pytest.mark.parametrize("suffix", TARS)
def test_a_tar_has_its_pictures_in_its_order(tmp_path: Path, opening: Opening, suffix: str) -> None:
    members = [(name, content(name.removeprefix("./"))) for name in NAMES]
    path = write_tar(tmp_path / f"all{suffix}", members, TARS[suffix])

    pictures = opening(str(path))

    assert pictures.names == EXPECTED
    assert read_all(pictures) == {name: content(name) for name in EXPECTED}
    assert pictures.size(0) == 5000
    assert pictures.sequential == (suffix != ".tar")
    # Any order is right; only slow, if the archive is compressed.
    assert pictures.read(0) == content(EXPECTED[0])


def test_a_tar_that_is_compressed_without_saying_so_is_read_in_order(
    tmp_path: Path, opening: Opening
) -> None:
    path = write_tar(tmp_path / "all.tar", [("a.jpg", b"a")], "w:gz")

    assert opening(str(path)).sequential


def test_a_folder_may_be_called_like_an_archive(tmp_path: Path, opening: Opening) -> None:
    for name in ("a.zip", "b.tar.gz", "c.txt"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.jpg").write_bytes(b"x")
        assert opening(str(tmp_path / name)).names == ["x.jpg"]


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_of_several_members_with_a_name_the_last_is_valid(tmp_path: Path, opening: Opening) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for data in (b"old", b"new"):
            archive.writestr("a.jpg", data)
    write_tar(tmp_path / "all.tar", [("a.jpg", b"old"), ("b.jpg", b"b"), ("./a.jpg", b"new")])

    assert read_all(opening(str(tmp_path / "all.zip"))) == {"a.jpg": b"new"}
    assert read_all(opening(str(tmp_path / "all.tar"))) == {"b.jpg": b"b", "a.jpg": b"new"}


def test_a_link_in_a_tar_has_the_content_of_its_member(tmp_path: Path, opening: Opening) -> None:
    """As tar writes a file that has two names; what a link leads to elsewhere is not read."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"a")
    os.link(folder / "a.jpg", folder / "b.jpg")
    (folder / "c.jpg").symlink_to("a.jpg")
    (folder / "d.jpg").symlink_to("/etc/passwd")
    (folder / "e.jpg").symlink_to("../../../etc/passwd")
    with tarfile.open(tmp_path / "all.tar", "w") as archive:
        for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"):
            archive.add(folder / name, f"in/{name}")
        os.mkfifo(folder / "f.jpg")
        archive.add(folder / "f.jpg")

    found = read_all(opening(str(tmp_path / "all.tar")))

    assert found == {"in/a.jpg": b"a", "in/b.jpg": b"a", "in/c.jpg": b"a"}


def test_names_that_lead_out_of_an_archive_stay_names(tmp_path: Path, opening: Opening) -> None:
    names = ["../../x.jpg", "/abs/y.jpg", "a\\b.jpg", "é\udcff.jpg", f"{'long' * 60}.jpg"]
    write_tar(tmp_path / "all.tar", [(name, b"x") for name in names])

    assert opening(str(tmp_path / "all.tar")).names == names


def test_an_encrypted_member_is_a_bad_picture(tmp_path: Path, opening: Opening) -> None:
    path = write_zip(tmp_path / "all.zip", ["a.jpg", "b.jpg"])
    data = bytearray(path.read_bytes())
    # The flags in the directory and before the member.
    data[data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 4) + 8] |= 1
    path.write_bytes(data)

    pictures = opening(str(path))

    with pytest.raises(PictureUndecodable, match="encrypted in the archive"):
        pictures.read(0)
    assert pictures.read(1) == content("b.jpg")


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_a_damaged_member_is_a_bad_picture(tmp_path: Path, opening: Opening, method: int) -> None:
    path = write_zip(tmp_path / "all.zip", ["a.jpg", "b.jpg"], method)
    data = bytearray(path.read_bytes())
    at = data.index(b"a.jpg") + 300
    data[at : at + 2000] = bytes(2000)
    path.write_bytes(data)

    pictures = opening(str(path))

    with pytest.raises(PictureUndecodable, match="damaged in the archive: "):
        pictures.read(0)
    assert pictures.read(1) == content("b.jpg")


def test_absurd_sizes_are_not_unpacked(tmp_path: Path, opening: Opening) -> None:
    """A zip bomb, and a tar whose member is sparse: both are small files."""
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.jpg", bytes(MOST_PICTURE_BYTES + 1))
    with (tmp_path / "hole.jpg").open("wb") as file:
        file.truncate(MOST_PICTURE_BYTES + 1)
    with tarfile.open(tmp_path / "all.tar", "w") as archive:
        archive.add(tmp_path / "hole.jpg", "a.jpg")
    os.system(f"cd {tmp_path} && tar --sparse -cf sparse.tar hole.jpg")  # noqa: S605

    for name in ("all.zip", "all.tar"):
        with pytest.raises(PictureTooLarge, match="67,108,865 bytes"):
            opening(str(tmp_path / name)).read(0)
    with pytest.raises(PictureUndecodable, match="sparse"):
        opening(str(tmp_path / "sparse.tar")).read(0)


def test_a_zip_that_lies_about_a_size_does_not_take_more_memory(
    tmp_path: Path, opening: Opening
) -> None:
    path = tmp_path / "all.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.jpg", bytes(10_000_000))
    path.write_bytes(path.read_bytes().replace((10_000_000).to_bytes(4, "little"), b"\x64\0\0\0"))

    with pytest.raises(PictureUndecodable):
        opening(str(path)).read(0)


@pytest.mark.parametrize("suffix", [*TARS, ".zip"])
@pytest.mark.parametrize("kept", [0, 100, 600, 0.5, 0.9])
def test_an_archive_that_is_cut_off_is_refused(
    tmp_path: Path, opening: Opening, suffix: str, kept: float
) -> None:
    """Its last pictures would be lost without a word."""
    path = tmp_path / f"all{suffix}"
    members = [(f"{number}.jpg", content(str(number))) for number in range(20)]
    if suffix == ".zip":
        write_zip(path, [name for name, _ in members])
    else:
        write_tar(path, members, TARS[suffix])
    data = path.read_bytes()
    path.write_bytes(data[: int(kept if kept >= 1 else kept * len(data))])

    with pytest.raises(BadInput, match=r"all\.\S+: not a (zip|tar) file, or not all of it: \S"):
        opening(str(path))


def test_a_tar_with_a_damaged_header_is_refused(tmp_path: Path, opening: Opening) -> None:
    """For tarfile itself, the archive ends there."""
    members = [(f"{number}.jpg", bytes(512)) for number in range(20)]
    path = write_tar(tmp_path / "all.tar", members)
    data = bytearray(path.read_bytes())
    data[10 * 1024] ^= 0xFF
    path.write_bytes(data)

    with pytest.raises(BadInput, match="not all of it: bad checksum"):
        opening(str(path))


def test_something_else_is_no_archive(tmp_path: Path, opening: Opening) -> None:
    for name in ("a.zip", "a.tar", "a.tar.gz"):
        (tmp_path / name).write_bytes(b"<html>Not found</html>" * 100)
        with pytest.raises(BadInput, match=r"not a (zip|tar) file"):
            opening(str(tmp_path / name))
        with pytest.raises(FileNotFoundError):
            opening(str(tmp_path / f"gone-{name}"))


@given(st.binary(min_size=1, max_size=40), st.floats(0, 1), st.sampled_from([*TARS, ".zip"]))
def test_a_changed_archive_is_refused_or_its_pictures_are_bad(
    tmp_path_factory: pytest.TempPathFactory, change: bytes, place: float, suffix: str
) -> None:
    path = tmp_path_factory.mktemp("changed") / f"all{suffix}"
    if suffix == ".zip":
        write_zip(path, EXPECTED, zipfile.ZIP_DEFLATED)
    else:
        write_tar(path, [(name, content(name)) for name in EXPECTED], TARS[suffix])
    data = bytearray(path.read_bytes())
    at = int(place * (len(data) - len(change)))
    data[at : at + len(change)] = change
    path.write_bytes(data)

    try:
        pictures = open_pictures(str(path))
    except BadInput:
        return
    with closing(pictures):
        for number in range(len(pictures.names)):
            with suppress(PictureError):
                pictures.read(number)


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
def test_a_storage_that_fails_is_no_bad_picture(tmp_path: Path, suffix: str) -> None:
    """As a disk or a network file system does."""
    path = tmp_path / f"all{suffix}"
    pictures: ZipPictures | TarPictures
    if suffix == ".zip":
        pictures = ZipPictures(str(write_zip(path, EXPECTED)))
    else:
        members = [(name, content(name) * 100) for name in EXPECTED]
        pictures = TarPictures(str(write_tar(path, members, TARS[suffix])))
    # In place of the file, a descriptor that fails.
    failing = os.open("/proc/self/mem", os.O_RDONLY)
    os.dup2(failing, pictures._raw.fileno())  # noqa: SLF001
    os.close(failing)

    with closing(pictures), pytest.raises(StorageFailed, match=os.strerror(errno.EIO)):
        pictures.read(3)
