"""Reading to an end that may never come."""

from __future__ import annotations

import asyncio
import errno
import os
import pty
import threading
from pathlib import Path

import pytest

from elastic_yolo.reading import naming, read_all, read_all_async
from tests.support.waiting import wait_until


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """A named pipe without a writer."""
    path = tmp_path / "pipe.jpg"
    os.mkfifo(path)
    return path


def test_a_file_is_read_to_its_end(tmp_path: Path) -> None:
    content = os.urandom(3 * 2**20 + 7)
    (tmp_path / "file").write_bytes(content)

    assert read_all(tmp_path / "file", 2**30, 60) == content
    assert read_all(tmp_path / "file", len(content), 60) == content


def test_a_pipe_is_read_until_its_writer_closes_it(pipe: Path) -> None:
    content = os.urandom(2**20)
    writer = threading.Thread(target=pipe.write_bytes, args=(content,))
    writer.start()

    assert read_all(pipe, 2**30, 60) == content
    writer.join()


def test_a_pipe_whose_writer_is_gone_already_ends() -> None:
    """As that of a process substitution, `<(...)`."""
    reader, writer = os.pipe()
    os.write(writer, b"picture")
    os.close(writer)
    try:
        assert read_all(Path(f"/dev/fd/{reader}"), 100, 60) == b"picture"
    finally:
        os.close(reader)


def test_a_terminal_ends_with_ctrl_d() -> None:
    ours, theirs = pty.openpty()
    os.write(ours, b"text\n\x04")
    try:
        assert read_all(theirs, 100, 60) == b"text\n"
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_pipe_without_a_writer_is_given_up_in_time(pipe: Path) -> None:
    with pytest.raises(TimeoutError, match=r"not read to its end within 0\.05 s") as raised:
        read_all(pipe, 100, 0.05)

    assert raised.value.filename == str(pipe)


def test_a_source_without_an_end_is_given_up() -> None:
    with pytest.raises(OSError, match="expected at most 2,000,000 bytes") as raised:
        read_all(Path("/dev/zero"), 2_000_000, 60)

    assert (raised.value.errno, raised.value.filename) == (errno.EFBIG, "/dev/zero")


@pytest.mark.parametrize("name", ["absent", ".", "x" * 300])
def test_what_cannot_be_read_is_an_error_with_its_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"\[Errno") as raised:
        read_all(tmp_path / name, 100, 60)

    assert raised.value.filename == str(tmp_path / name)


def test_a_cancelled_reader_leaves_no_thread(pipe: Path) -> None:
    before = threading.active_count()

    async def run() -> None:
        reading = asyncio.create_task(read_all_async(pipe, 100, 3600))
        while threading.active_count() == before:  # noqa: ASYNC110  # a thread sets no event
            await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading

    asyncio.run(run())

    wait_until(lambda: threading.active_count() == before, "the thread ends")


def test_a_closed_pipe_stays_one_when_it_is_named() -> None:
    with pytest.raises(BrokenPipeError), naming("standard output"):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")
