"""Source s3://BUCKET/KEY: objects of S3 and compatible servers.

botocore reads endpoint, region and credentials from its own environment variables and files.
Without credentials requests are not signed, which is enough for public buckets.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from elastic_yolo.provision.errors import ConfigError, SourceRefused, SourceUnavailable
from elastic_yolo.provision.sources.http import parse_range
from elastic_yolo.provision.sources.library import require_library
from elastic_yolo.provision.sources.stream import ResumePoint, SourceStream

_CHUNK_BYTES = 2**18
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
def open_s3(address: str, start: ResumePoint) -> Iterator[SourceStream]:
    """See `stream.OpenSource`; resumes only if the object has the same ETag."""
    bucket, _, key = address.removeprefix("s3://").partition("/")
    if not bucket or not key:
        raise ConfigError(f"{address}: expected s3://BUCKET/KEY")
    require_library("boto3", address)
    with _translated_errors(address):
        response = _get(_client(), {"Bucket": bucket, "Key": key}, start)
        part = parse_range(response.get("ContentRange", ""))
        offset, size = part or (0, response["ContentLength"])
        if offset not in (0, start.offset):
            raise SourceUnavailable(
                f"{address}: requested bytes from {start.offset:,}, received from {offset:,}"
            )
        body = response["Body"]
        try:
            yield SourceStream(_chunks(body, address), offset, size, response.get("ETag"))
        finally:
            body.close()


def _client() -> Any:
    # Imported here because it is slow and most runs do not need it.
    import boto3  # noqa: PLC0415
    from botocore import UNSIGNED  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415

    session = boto3.session.Session()
    config = Config(
        connect_timeout=10,
        read_timeout=30,
        # Download retries, and resumes where it stopped.
        retries={"total_max_attempts": 1},
        # Download checks the digest, and not every server supports these checksums.
        response_checksum_validation="when_required",
        signature_version=None if session.get_credentials() else UNSIGNED,
    )
    return session.client("s3", config=config)


def _get(client: Any, wanted: dict[str, str], start: ResumePoint) -> Any:
    from botocore.exceptions import ClientError  # noqa: PLC0415

    if start.offset and start.validator:
        rest = {"Range": f"bytes={start.offset}-", "IfMatch": start.validator}
        try:
            return client.get_object(**wanted, **rest)
        except ClientError as error:
            if error.response["Error"]["Code"] not in _CHANGED:
                raise
    return client.get_object(**wanted)


@contextmanager
def _translated_errors(address: str) -> Iterator[None]:
    """Raise botocore's errors as SourceRefused or SourceUnavailable.

    Messages contain only the class and the error code: botocore's texts may quote credentials.
    """
    from botocore import exceptions  # noqa: PLC0415

    try:
        yield
    except exceptions.ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        code = error.response.get("Error", {}).get("Code", "")
        passing = status >= 500 or status == 429 or code in _TOO_MUCH
        kind = SourceUnavailable if passing else SourceRefused
        raise kind(f"{address}: status {status} {code}") from None
    except (
        exceptions.ConnectionError,
        exceptions.HTTPClientError,
        exceptions.IncompleteReadError,
        exceptions.CredentialRetrievalError,
    ) as error:
        raise SourceUnavailable(f"{address}: {type(error).__name__}") from None
    except exceptions.BotoCoreError as error:
        raise SourceRefused(f"{address}: {type(error).__name__}") from None


def _chunks(body: Any, address: str) -> Iterator[bytes]:
    with _translated_errors(address):
        yield from body.iter_chunks(_CHUNK_BYTES)
