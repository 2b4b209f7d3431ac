"""Errors of uploaded pictures.

PictureError
├── NotAPicture           the bytes are not a JPEG, PNG, WebP or BMP
├── PictureTooLarge       more bytes or pixels than allowed
└── PictureUndecodable    a known format, but truncated or corrupt
"""


class PictureError(Exception):
    """The picture cannot be used; the message is safe to return to the client."""


class NotAPicture(PictureError):
    """The first bytes match no accepted picture format."""


class PictureTooLarge(PictureError):
    """The picture exceeds a limit on bytes or pixels."""


class PictureUndecodable(PictureError):
    """The picture is of a known format but truncated or corrupt."""
