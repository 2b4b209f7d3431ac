"""Pictures in forms, as the many clients write them."""

from __future__ import annotations

import base64
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.request.errors import (
    MalformedRequest,
    ParameterOutOfRange,
    UnsupportedMedia,
)
from services.web.upload import find_body

# Bytes that begin like a boundary are a part of it.
PICTURE = b"\xff\xd8\r\n--X\r\n--XX-\r\n--XXY\r\n\r\n--\r\n\xff\xd9"


def read(body: bytes, boundary: str = "XX", piece_bytes: int = 7) -> bytes:
    """Return the picture of a form that arrives in pieces."""
    form = find_body(f"multipart/form-data; boundary={boundary}")
    pieces = [body[at : at + piece_bytes] for at in range(0, len(body), piece_bytes)]
    return form.finish(b"".join(form.select(piece) for piece in pieces))


def part(content: bytes = PICTURE, name: str = 'name="image"', *headers: str) -> bytes:
    lines = [f"Content-Disposition: form-data; {name}", *headers, "", ""]
    return b"--XX\r\n" + "\r\n".join(lines).encode() + content + b"\r\n"


END = b"--XX--\r\n"


@pytest.mark.parametrize(
    "body",
    {
        "plain": part() + END,
        "preamble": b"MIME-Version: 1.0\r\n\r\n" + part() + END,
        "empty line in front": b"\r\n" + part() + END,
        "epilogue": part() + END + b"--XX\r\nbye\r\n--XX--",
        "no line end at the end": part() + END.strip(),
        "padding": part().replace(b"--XX\r\n", b"--XX \t \r\n", 1) + b"--XX-- \r\n",
        "other fields": part(b"1", 'name="a"') + part() + part(b"2", 'name="b"') + END,
        "two pictures": part() + part(b"second") + END,
        "empty part head": b"--XX\r\n\r\nx\r\n" + part() + END,
        "folded head": part(name='\r\n name="image";\r\n\tfilename="a.jpg"') + END,
        "upper case": part(name='NAME="image"').replace(b"Content-D", b"CONTENT-D") + END,
        "unquoted": part(name="name=image") + END,
        "blanks": part(name='name = "image"') + END,
        "extended name": part(name="name*=utf-8''im%61ge") + END,
        "odd file name": part(name='filename="a\\"; name=b\\".jpg"; name="image"') + END,
        "file name of bytes": part(name='name="image"; filename="\u56fe.jpg"') + END,
        "type": part(PICTURE, 'name="image"', "Content-Type: text/plain", "X: y") + END,
        "binary": part(PICTURE, 'name="image"', "Content-Transfer-Encoding: BINARY") + END,
        "no last boundary": part() + b"--XX\r\n",
        "half of the last boundary": part() + b"--XX",
    }.items(),
    ids=lambda case: case[0],
)
@pytest.mark.parametrize("piece_bytes", [1, 2, 3, 7, 64, 10_000])
def test_the_picture_of_a_form_is_found(body: tuple[str, bytes], piece_bytes: int) -> None:
    assert read(body[1], piece_bytes=piece_bytes) == PICTURE


@pytest.mark.parametrize("piece_bytes", [1, 5, 10_000])
def test_lines_may_end_with_a_line_feed_alone(piece_bytes: int) -> None:
    picture = b"\xff\xd8\r\n\n--X\n\r\xff\xd9"
    head = b'--XX\nContent-Disposition: form-data;\n name="image"\nX: y\n\n'

    assert read(b"hello\n" + head + picture + b"\n--XX--\n", piece_bytes=piece_bytes) == picture


@given(
    picture=st.lists(st.sampled_from([b"\r", b"\n", b"-", b"X", b"--XX", b"a"]), min_size=1),
    piece_bytes=st.integers(1, 40),
    line_end=st.sampled_from([b"\r\n", b"\n"]),
    padding=st.sampled_from([b"", b" ", b"\t"]),
)
def test_any_picture_is_found_however_the_form_arrives(
    picture: list[bytes], piece_bytes: int, line_end: bytes, padding: bytes
) -> None:
    content = b"".join(picture)
    separates = re.search(rb"\n--XX(--|[ \t]*\r?\n)", b"\n" + content + line_end)
    ambiguous = line_end == b"\n" and content.endswith(b"\r")
    if separates or ambiguous or content.startswith((b"\n", b"\r\n")):
        return
    lines = [b"--XX" + padding, b"Content-Disposition: form-data; name=image", b"", content]
    body = line_end.join([*lines, b"--XX--" + padding, b""])

    assert read(body, piece_bytes=piece_bytes) == content


@pytest.mark.parametrize(
    ("stated", "used"),
    [
        ("a", "a"),
        ('"XX YY"', "XX YY"),
        ("XX YY", "XX YY"),
        ('"a;b=c"', "a;b=c"),
        ("'XX'", "'XX'"),
        ("--XX", "--XX"),
        ("X=Y/Z?:()+_,-.", "X=Y/Z?:()+_,-."),
        ("XX; charset=utf-8", "XX"),
        ("----WebKitFormBoundary7MA4YWxkTrZu0gW", "----WebKitFormBoundary7MA4YWxkTrZu0gW"),
    ],
)
def test_a_boundary_may_have_any_characters(stated: str, used: str) -> None:
    body = (part() + END).replace(b"--XX\r\nC", b"--%b\r\nC" % used.encode())
    body = body.replace(END, b"--%b--\r\n" % used.encode())

    assert read(body, stated) == PICTURE


def test_the_type_of_a_form_may_be_in_any_case() -> None:
    form = find_body('Multipart/Form-Data; Boundary="XX"')

    assert form.finish(form.select(part() + END)) == PICTURE


def test_a_boundary_that_is_not_the_bodys_is_named_with_the_bodys() -> None:
    with pytest.raises(MalformedRequest, match=r"states the boundary 'YY', and the form uses 'XX'"):
        read(part() + END, "YY")
    with pytest.raises(MalformedRequest, match=r"states the boundary '--XX', .* uses 'XX'"):
        read(part() + END, "--XX")
    with pytest.raises(MalformedRequest, match=r"it has no line '--XX'"):
        read(PICTURE.replace(b"--", b"++"))


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (END, "no field 'image': send"),
        (part(name='name="file"') + END, "no field 'image': .*; the form has 'file'"),
        (part(name='name="Image"') + END, "the form has 'Image'"),
        (part(b"") + END, "the picture is empty"),
        (part(b"") * 33 + END, "more than 32 fields"),
        (part(b"a", 'name="image"', "X: " + "y" * 20_000) + END, "field exceed 16,384 bytes"),
        (b"--XX\r\n" + b"x" * 20_000, "field exceed 16,384 bytes"),
    ],
)
def test_a_form_without_a_picture_is_malformed(body: bytes, detail: str) -> None:
    with pytest.raises(MalformedRequest, match=detail):
        read(body, piece_bytes=1000)


def test_a_boundary_of_any_length_is_not_searched_for() -> None:
    with pytest.raises(MalformedRequest, match="boundary exceeds 256 bytes"):
        find_body("multipart/form-data; boundary=" + "x" * 257)


def test_base64_is_decoded_and_other_encodings_are_named() -> None:
    """Mail libraries write it with a line break behind each 76 characters."""
    encoded = base64.encodebytes(PICTURE * 20).replace(b"\n", b"\r\n")
    header = "Content-Transfer-Encoding: Base64"

    assert read(part(b"YQ", 'name="image"', header) + END) == b"a"
    assert read(part(encoded, 'name="image"', header) + END) == PICTURE * 20
    with pytest.raises(MalformedRequest, match="'image' is not base64"):
        read(part(b"#!", 'name="image"', header) + END)
    with pytest.raises(UnsupportedMedia, match="'quoted-printable' is not accepted"):
        read(part(PICTURE, 'name="image"', "Content-Transfer-Encoding: quoted-printable") + END)


def test_the_encoding_of_another_field_does_not_matter() -> None:
    other = part(b"=41", 'name="a"', "Content-Transfer-Encoding: quoted-printable")

    assert read(other + part() + other + END) == PICTURE


@pytest.mark.parametrize("name", ["model", "threshold", "iou"])
def test_a_parameter_in_the_form_is_not_ignored(name: str) -> None:
    with pytest.raises(ParameterOutOfRange, match=rf"{name}: .* expected in the query: \?{name}="):
        read(part() + part(b"0.5", f'name="{name}"') + END)


@pytest.mark.parametrize(
    ("field", "meant"), [("Threshold", "threshold"), ("thresh_old", "threshold"), ("IoU", "iou")]
)
def test_a_parameter_in_the_form_is_found_if_it_is_misspelt(field: str, meant: str) -> None:
    body = part() + part(b"0.2", f'name="{field}"') + b"--XX--\r\n"

    with pytest.raises(ParameterOutOfRange, match=rf"^{field}: .* in the query: \?{meant}="):
        read(body)


def test_other_fields_of_a_form_are_ignored() -> None:
    fields = b"".join(part(b"1", f'name="{name}"') for name in ("submit", "token", "mode", "i"))

    assert read(fields + part() + b"--XX--\r\n") == PICTURE


def test_lines_that_end_with_carriage_returns_alone_are_named() -> None:
    body = (part() + b"--XX--\r\n").replace(b"\n", b"")

    with pytest.raises(MalformedRequest, match="its lines end neither with CR LF nor with LF"):
        read(body)


def test_a_field_that_is_compressed_by_itself_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedMedia, match="the field 'image' has Content-Encoding 'gzip'"):
        read(part(PICTURE, 'name="image"', "Content-Encoding: gzip") + END)
    plain = part(PICTURE, 'name="image"', "Content-Encoding: identity") + END
    assert read(plain) == PICTURE
