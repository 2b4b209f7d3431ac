"""Objects of S3 and of what speaks like it: s3://BUCKET/KEY.

Endpoint, region and credentials are botocore's own business: its environment variables and files.
Without credentials requests are not signed, which public buckets answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from elastic_yolo.provision.errors import ConfigError, SourceRefused, SourceUnavailable
from elastic_yolo.provision.sources.http import parse_range
from elastic_yolo.provision.sources.opened import Opened, Start

_PIECE_BYTES = 2**18
_TOO_MUCH = frozenset(
    {
        "RequestTimeout",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
_CHANGED = frozenset({"PreconditionFailed", "InvalidRange"})


@contextmanager
def open_s3(address: str, start: Start) -> Iterator[Opened]:
    """See `opened.Open`; asks for the rest only of an object with the same ETag."""
    bucket, _, key = address.removeprefix("s3://").partition("/")
    if not bucket or not key:
        raise ConfigError(f"{address}: expected s3://BUCKET/KEY")
    with _refusals(address):
        answer = _get(_client(), {"Bucket": bucket, "Key": key}, start)
        part = parse_range(answer.get("ContentRange", ""))
        offset, size = part or (0, answer["ContentLength"])
        if offset not in (0, start.offset):
            raise SourceUnavailable(f"{address}: another part came than was asked for")
        body = answer["Body"]
        try:
            yield Opened(_pieces(body, address), offset, size, answer.get("ETag"))
        finally:
            body.close()


def _client() -> Any:
    # Here, since it takes a while: most runs need none of it.
    import boto3  # noqa: PLC0415
    from botocore import UNSIGNED  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415

    session = boto3.session.Session()
    config = Config(
        connect_timeout=10,
        read_timeout=30,
        # Trying again is done by who asked us, from where it was.
        retries={"total_max_attempts": 1},
        # A digest is checked anyway, and not every server has these.
        response_checksum_validation="when_required",
        signature_version=None if session.get_credentials() else UNSIGNED,
    )
    return session.client("s3", config=config)


def _get(client: Any, wanted: dict[str, str], start: Start) -> Any:
    from botocore.exceptions import ClientError  # noqa: PLC0415

    if start.offset and start.same_as:
        rest = {"Range": f"bytes={start.offset}-", "IfMatch": start.same_as}
        try:
            return client.get_object(**wanted, **rest)
        except ClientError as error:
            if error.response["Error"]["Code"] not in _CHANGED:
                raise
    return client.get_object(**wanted)


@contextmanager
def _refusals(address: str) -> Iterator[None]:
    """Raise botocore's errors as ours; of what they say only kinds and codes, never values."""
    from botocore import exceptions  # noqa: PLC0415

    try:
        yield
    except exceptions.ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        code = error.response.get("Error", {}).get("Code", "")
        passing = status >= 500 or status == 429 or code in _TOO_MUCH
        kind = SourceUnavailable if passing else SourceRefused
        raise kind(f"{address}: answered {status} {code}") from None
    except (
        exceptions.ConnectionError,
        exceptions.HTTPClientError,
        exceptions.IncompleteReadError,
        exceptions.CredentialRetrievalError,
    ) as error:
        raise SourceUnavailable(f"{address}: {type(error).__name__}") from None
    except exceptions.BotoCoreError as error:
        raise SourceRefused(f"{address}: {type(error).__name__}") from None


def _pieces(body: Any, address: str) -> Iterator[bytes]:
    with _refusals(address):
        yield from body.iter_chunks(_PIECE_BYTES)
