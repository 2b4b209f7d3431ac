"""What a file is said to be, instead of a text in UTF-8."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic_yolo.detector.errors import ModelError
from elastic_yolo.detector.foreign import HEAD_BYTES, convert_advice, foreign_kind
from elastic_yolo.detector.model import read_model

RUSSIAN = "\u043a\u043e\u0442\n\u0421\u043e\u0431\u0430\u043a\u0430\n"
LABELS = {
    "GBK": "人脸\n汽车\n",
    "BIG5": "人臉\n汽車\n",
    "SHIFT_JIS": "犬\nねこ\n",
    "EUC-JP": "犬\nねこ\n",
    "EUC-KR": "사람\n자동차\n신호등\n",
    "KOI8-R": RUSSIAN,
    "CP1251": RUSSIAN,
    "CP1253": "\u03c3\u03ba\u03cd\u03bb\u03bf\u03c2\n\u03b3\u03ac\u03c4\u03b1\n",
    "CP1256": "قطة\nكلب\n",
    "CP874": "แมว\nสุนัข\n",
    "ISO-8859-1": "vélo\nmètre\n",
    "ISO-8859-2": "żółw\nłódź\n",
    "CP1250": "żółw\nśledź\n",
    "UTF-16": "kot\npies\n",
    "UTF-16LE": "kot\npies\n",
    "UTF-16BE": "人脸\n汽车\n",
    "UTF-32": "kot\npies\n",
}


@pytest.mark.parametrize(("encoding", "text"), LABELS.items())
def test_the_encoding_of_labels_is_named_with_the_command_that_converts_them(
    tiny_model: Path, encoding: str, text: str
) -> None:
    names = tiny_model / "tiny.names"
    names.write_bytes(text.encode(encoding))

    with pytest.raises(ModelError, match=r"tiny\.names: not a text file") as refused:
        read_model(tiny_model)

    _, iconv, options = str(refused.value).rpartition("iconv ")
    command = iconv + options
    assert command == f"iconv -f {encoding} -t UTF-8"
    done = subprocess.run([*command.split(), names], capture_output=True, check=True)
    assert done.stdout.decode("utf-8") == text


@pytest.mark.parametrize(
    ("encoding", "word"),
    [
        ("EUC-KR", "사람"),
        ("SHIFT_JIS", "猫"),
        ("EUC-JP", "自転車"),
        ("BIG5", "狗"),
        ("GBK", "猫"),
        ("CP1255", "חתול"),
    ],
)
def test_where_bytes_have_several_readings_the_words_show_which_is_right(
    encoding: str, word: str
) -> None:
    """A file of one word."""
    advice = convert_advice(f"{word}\n".encode(encoding))

    assert f"as {encoding} ({word!r})" in advice


def test_encodings_that_agree_about_every_letter_are_one_reading() -> None:
    """ISO-8859-1, ISO-8859-2, CP1250 and ISO-8859-9 have the same bytes for this word."""
    advice = convert_advice("vélo\n".encode("iso8859-1"))

    assert (
        advice == ": it reads as ISO-8859-1 ('vélo'): if that is right, "
        "convert it with iconv -f ISO-8859-1 -t UTF-8"
    )


def test_noise_is_given_no_encoding() -> None:
    assert convert_advice(bytes(range(128, 256))) == ""
    assert convert_advice(b"\x93\0\0\xff\0") == ""


@given(st.binary(max_size=200))
def test_any_bytes_get_advice_of_one_line_or_none(data: bytes) -> None:
    message = str(ModelError(f"x{convert_advice(data)}"))

    assert message.isprintable()
    assert foreign_kind(data[:HEAD_BYTES]) is None or data


def test_zero_bytes_behind_labels_are_padding(tiny_model: Path) -> None:
    (tiny_model / "tiny.names").write_bytes(b"square\r\ncircle\r\n" + bytes(100))

    assert read_model(tiny_model).labels == ("square", "circle")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\nsize 9\n", "a Git LFS pointer"),
        (b"<html>\n</html>\n", "an HTML page"),
    ],
)
def test_a_pointer_or_a_page_does_not_become_labels(
    tiny_model: Path, content: bytes, message: str
) -> None:
    """Both have as many lines as the model has classes."""
    (tiny_model / "tiny.names").write_bytes(content)

    with pytest.raises(ModelError, match=message):
        read_model(tiny_model)
