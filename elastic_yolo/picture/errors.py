"""The ways in which bytes that somebody sent are not a usable picture.

PictureError
├── NotAPicture           the bytes are no JPEG, PNG, WebP or BMP
├── PictureTooLarge       more bytes or pixels than allowed
└── PictureUndecodable    the right kind of file, but cut short or damaged
"""


class PictureError(Exception):
    """The picture cannot be used; the message says why and is safe to show to its sender."""


class NotAPicture(PictureError):
    """The bytes begin like no picture format that we take."""


class PictureTooLarge(PictureError):
    """The picture exceeds a limit on bytes or pixels."""


class PictureUndecodable(PictureError):
    """The picture is of a known format but truncated or corrupt."""
