"""Name what a file is instead of a model's file, and the encoding of a text that is not UTF-8."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable

# As many bytes of a file's beginning as `foreign_kind` looks at.
HEAD_BYTES = 512
# Enough to recognise a script, and bounded work for a file of any size.
_MOST_SAMPLE = 2**16
# Encodings that are shown, each with a word.
_MOST_READINGS = 4

_MAGIC = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file: run git lfs pull"),
    (b"\x1f\x8b", "compressed with gzip: unpack it with gunzip"),
    (b"BZh", "compressed with bzip2: unpack it with bunzip2"),
    (b"\xfd7zXZ\0", "compressed with xz: unpack it with unxz"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd: unpack it with unzstd"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it"),
    (b"Rar!\x1a", "a RAR archive: unpack it"),
    (b"PK\x03\x04", "a ZIP archive, as PyTorch's .pt files are too"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes"),
    (b"\x80\x02", "a Python pickle, as PyTorch writes"),
)
_TAR = (257, b"ustar")
_MARKUP = re.compile(rb"\s*(?:<!doctype html|<html|<head|<body)", re.IGNORECASE)
_XML = re.compile(rb"\s*<\?xml")


def foreign_kind(head: bytes) -> str | None:
    """Return what a file is by its first bytes, and what to do, or None if that is unknown.

    `head` has up to HEAD_BYTES bytes.
    """
    text = head.removeprefix(codecs.BOM_UTF8)
    if _MARKUP.match(text):
        return "an HTML page, perhaps a login page instead of the file: download it anew"
    if _XML.match(text):
        return "XML, perhaps a server's error instead of the file: download it anew"
    if head[_TAR[0] :].startswith(_TAR[1]):
        return "a tar archive: unpack it"
    return next((kind for magic, kind in _MAGIC if text.startswith(magic)), None)


def _wide_encoding(data: bytes) -> str | None:
    """Return the name of an encoding with 16 or 32 bits for each letter, or None.

    Recognised by its byte order mark, or by zero bytes at every second place only.
    """
    # UTF-32's mark begins with that of UTF-16.
    for mark, name in (
        (codecs.BOM_UTF32_LE, "UTF-32"),
        (b"\0\0\xfe\xff", "UTF-32"),
        (codecs.BOM_UTF16_LE, "UTF-16"),
        (codecs.BOM_UTF16_BE, "UTF-16"),
    ):
        if data.startswith(mark):
            return name
    even, odd = data[:_MOST_SAMPLE:2], data[1:_MOST_SAMPLE:2]
    # Every file has a letter of ASCII: the end of a line.
    if odd.count(0) and not even.count(0):
        return "UTF-16LE"
    if even.count(0) and not odd.count(0):
        return "UTF-16BE"
    return None


def convert_advice(data: bytes) -> str:
    """Return what a text that is not UTF-8 seems to be, and the command that converts it.

    Begins with ": "; empty if no encoding is plausible. Bytes alone often leave several encodings
    possible. Then each is shown with a word of the file, and the reader knows which word is right.
    """
    wide = _wide_encoding(data)
    if wide is not None:
        return f": it is {wide}: convert it with iconv -f {wide} -t UTF-8"
    if 0 in data:
        return ""
    sample = data[:_MOST_SAMPLE]
    if len(sample) < len(data):
        # Not in the middle of a letter.
        sample = sample[: sample.rfind(b"\n") + 1]
    readings: dict[str, str] = {}
    texts = set()
    for name, codec, plausible in _ENCODINGS:
        text = _decode(sample, codec)
        # Where two encodings agree about every letter, either command is right.
        if text is None or text in texts or not plausible(text):
            continue
        texts.add(text)
        if word := _first_word(text):
            readings.setdefault(name, word)
    if not readings:
        return ""
    names = [*readings][:_MOST_READINGS]
    shown = " or ".join(f"as {name} ({readings[name]!r})" for name in names)
    if len(names) == 1:
        return f": it reads {shown}: if that is right, convert it with iconv -f {names[0]} -t UTF-8"
    return (
        f": it reads {shown}: choose the one that reads right, as in iconv -f {names[0]} -t UTF-8"
    )


def _decode(data: bytes, codec: str) -> str | None:
    try:
        return data.decode(codec)
    except UnicodeDecodeError:
        return None


def _first_word(text: str) -> str:
    return next((word[:20] for word in text.split() if not word.isascii()), "")


def _letters(text: str) -> list[str]:
    return [letter for letter in text if letter > "\x7f"]


def _share(letters: list[str], belongs: Callable[[str], bool]) -> float:
    return sum(map(belongs, letters)) / max(1, len(letters))


def _chinese(text: str) -> bool:
    """Return whether most letters are among the 3,755 usual ones, level 1 of GB 2312."""
    usual = [letter.encode("gb2312", "ignore")[:1] for letter in _letters(text)]
    return sum(b"\xb0" <= lead <= b"\xd7" for lead in usual) > 0.8 * len(usual)


def _traditional(text: str) -> bool:
    """Return whether most letters are among the 5,401 usual ones, level 1 of Big5."""
    usual = [letter.encode("big5", "ignore")[:1] for letter in _letters(text)]
    return sum(b"\xa4" <= lead <= b"\xc6" for lead in usual) > 0.8 * len(usual)


def _japanese(text: str) -> bool:
    letters = _letters(text)
    kana = _share(letters, lambda letter: "\u3040" <= letter <= "\u30ff")
    return kana > 0 and kana + _share(letters, lambda c: "\u4e00" <= c <= "\u9fff") > 0.9


def _perhaps_japanese(text: str) -> bool:
    """Return whether most letters are kana or among the 2,965 usual ones, level 1 of JIS X 0208."""
    usual = [letter.encode("euc_jp", "ignore") for letter in _letters(text)]
    # One byte of 0x8E in front, or a lead of 0x8F, is half-width kana or JIS X 0212.
    return sum(b"\xa4" <= both[:1] <= b"\xcf" for both in usual) > 0.8 * len(usual)


def _korean(text: str) -> bool:
    # Chinese letters of two bytes are often such syllables too, but rarely eight in a row.
    return len(_letters(text)) >= 8 and _perhaps_korean(text)


def _perhaps_korean(text: str) -> bool:
    return _share(_letters(text), lambda letter: "\uac00" <= letter <= "\ud7a3") > 0.9


def _words(text: str) -> list[str]:
    return [word for word in re.findall(r"\w+", text) if not word.isascii()]


def _script(first: str, last: str) -> Callable[[str], bool]:
    """Return what tells whether most letters are in a range, and no word has letters of ASCII."""

    def is_usual(text: str) -> bool:
        words = _words(text)
        mixed = sum(bool(re.search("[A-Za-z]", word)) for word in words)
        in_range = _share(_letters(text), lambda letter: first <= letter <= last)
        return in_range > 0.9 and mixed < 0.3 * len(words)

    return is_usual


def _cased_script(first: str, last: str) -> Callable[[str], bool]:
    """As `_script`, and most words have no capital inside.

    Two encodings have small and capital letters in each other's places.
    """
    is_script = _script(first, last)

    def is_usual(text: str) -> bool:
        words = _words(text)
        usual = sum(len(word) == 1 or word[1:].islower() for word in words)
        return is_script(text) and usual > 0.7 * len(words)

    return is_usual


def _latin(text: str) -> bool:
    """Return whether every word has a letter of ASCII, and no sign or capital inside."""
    words = _words(text)
    usual = all(
        re.search("[A-Za-z]", word) and (word[1:].islower() or word.isupper()) for word in words
    )
    return bool(words) and usual and all(letter.isalpha() for letter in _letters(text))


# The order is that of how often they are met.
_ENCODINGS: tuple[tuple[str, str, Callable[[str], bool]], ...] = (
    ("SHIFT_JIS", "cp932", _japanese),
    ("EUC-JP", "euc_jp", _japanese),
    ("EUC-KR", "cp949", _korean),
    ("GBK", "gbk", _chinese),
    ("BIG5", "big5", _traditional),
    ("SHIFT_JIS", "cp932", _perhaps_japanese),
    ("EUC-JP", "euc_jp", _perhaps_japanese),
    ("EUC-KR", "cp949", _perhaps_korean),
    ("KOI8-R", "koi8_r", _cased_script("\u0400", "\u04ff")),
    ("CP1251", "cp1251", _cased_script("\u0400", "\u04ff")),
    ("CP1253", "cp1253", _cased_script("\u0370", "\u03ff")),
    ("CP1255", "cp1255", _script("\u05d0", "\u05ea")),
    ("CP1256", "cp1256", _script("\u0600", "\u06ff")),
    ("CP874", "cp874", _script("\u0e01", "\u0e5b")),
    ("ISO-8859-1", "cp1252", _latin),
    ("ISO-8859-2", "iso8859_2", _latin),
    ("CP1250", "cp1250", _latin),
    ("ISO-8859-9", "cp1254", _latin),
)
