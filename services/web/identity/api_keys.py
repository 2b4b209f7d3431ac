"""Finds the client of an API key: docs/decisions/034-identity.md."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from elastic_yolo.api_key import ACCESS_TOKEN_CLIENT, key_digest
from services.common.observe.logs import get_logger
from services.common.request.errors import Unauthorized
from services.common.request.identity import Identity
from services.web.identity.errors import KeysFileInvalid
from services.web.identity.keys_file import parse_keys, read_content

_POLL_S = 2.0


class _Known(NamedTuple):
    identity: Identity
    expires: datetime | None


class ApiKeys:
    """All valid keys: those of a file, which is read again when it changes, and ACCESS_TOKEN."""

    def __init__(self, path: Path | None, access_token: str | None) -> None:
        """Read the file; raises KeysFileInvalid."""
        self._path = path
        # A look-up compares hashes, and its duration may tell how much of two is equal. With a
        # secret in them, a caller cannot choose them.
        self._secret = secrets.token_bytes(32)
        self._fixed: dict[bytes, _Known] = {}
        if access_token is not None:
            identity = Identity("key", ACCESS_TOKEN_CLIENT, ACCESS_TOKEN_CLIENT)
            self._fixed[self._mix(key_digest(access_token))] = _Known(identity, None)
        self._known = self._fixed
        # What the file had when it was last looked at, valid or not.
        self._content: bytes | None = None
        self._reason = ""
        if path is not None:
            self._known = self._read_changed(path) or self._fixed

    def find(self, key: str) -> Identity | None:
        """Return the client of a key, None for an unknown one; raises Unauthorized for an old one.

        Takes the same time whatever the key is, except for its length.
        """
        known = self._known.get(self._mix(key_digest(key)))
        if known is None:
            return None
        if known.expires is not None and known.expires <= datetime.now(UTC):
            raise Unauthorized(f"the API key expired at {known.expires:%Y-%m-%dT%H:%M:%SZ}")
        return known.identity

    async def follow_file(self) -> None:
        """Read the file again when it changes, until cancelled; an invalid one changes nothing."""
        if self._path is None:
            return
        while True:
            await asyncio.sleep(_POLL_S)
            await self.refresh(self._path)

    async def refresh(self, path: Path) -> None:
        """Read the file; log once what is wrong with it."""
        try:
            # In a thread: a long file takes seconds.
            known = await asyncio.to_thread(self._read_changed, path)
        except KeysFileInvalid as error:
            if self._reason != str(error):
                self._reason = str(error)
                get_logger().error("API keys: the new file is not used", reason=self._reason)
            return
        if known is not None:
            self._known = known
            self._reason = ""
            get_logger().info("API keys: the new file is used", keys=self.count)

    @property
    def count(self) -> int:
        """How many keys there are."""
        return len(self._known)

    def _read_changed(self, path: Path) -> dict[bytes, _Known] | None:
        """Return all keys, or None if the file is as it was; raises KeysFileInvalid."""
        before, self._content = self._content, None
        self._content = read_content(path)
        if self._content == before:
            return None
        keys = parse_keys(path, self._content)
        known = {self._mix(digest): _Known(identity, expires) for digest, expires, identity in keys}
        return {**known, **self._fixed}

    def _mix(self, digest: str) -> bytes:
        return hashlib.blake2b(digest.encode(), key=self._secret, digest_size=32).digest()
