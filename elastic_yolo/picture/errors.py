"""Errors of uploaded pictures.

PictureError
├── NotAPicture           the bytes are not a JPEG, PNG, WebP or BMP
├── PictureTooLarge       more bytes or pixels than allowed
├── PictureUndecodable    a known format, but truncated or corrupt
└── PictureNotDrawable    it decodes, but cannot be returned with boxes in the wanted type
"""


class PictureError(Exception):
    """The picture cannot be used; the message is safe to return to the client."""


class NotAPicture(PictureError):
    """The first bytes match no accepted picture format."""


class PictureTooLarge(PictureError):
    """The picture exceeds a limit on bytes or pixels."""


class PictureUndecodable(PictureError):
    """The picture is of a known format but truncated or corrupt."""


class PictureNotDrawable(PictureError):
    """The picture with boxes cannot be returned in the type that was asked for."""
