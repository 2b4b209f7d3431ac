"""From an address on the command line to a source or a sink.

Each kind is imported on use: an installation needs the packages of the ends that it has.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from elastic_yolo.extras import naming_extra
from elastic_yolo.stream.ends import Sink, Source
from elastic_yolo.stream.errors import BadAddress

_SOURCES = (
    "redis://, rediss://, kafka://, rtsp://, rtsps://, http://, https://, a video file or a folder"
)
_SINKS = (
    "-, a file that ends in .jsonl, a folder, redis://, rediss://, kafka://, http://, https://, "
    "mqtt:// or mqtts://"
)


@dataclass(frozen=True)
class SourceOptions:
    """What applies to several kinds of sources.

    `fps`: frames a second of each camera or video, None for all. `claim_after_s`: when the
    messages of a consumer that vanished are taken over.
    """

    fps: float | None
    claim_after_s: float


def open_source(address: str, options: SourceOptions) -> Source:
    """Return the source of an address; raises BadAddress, Refused or MissingPackage."""
    scheme = _scheme(address)
    with naming_extra(f"--source {scheme or 'of this kind'}", _extra(scheme)):
        match scheme:
            case "redis" | "rediss":
                from elastic_yolo.stream.redis.streams import RedisSource  # noqa: PLC0415

                return RedisSource.open(address, options.claim_after_s)
            case "kafka":
                from elastic_yolo.stream.kafka.source import KafkaSource  # noqa: PLC0415

                return KafkaSource.open(address)
            case "rtsp" | "rtsps" | "http" | "https":
                from elastic_yolo.stream.cameras.camera import CameraSource  # noqa: PLC0415

                return CameraSource(address, options.fps)
            case "":
                return _of_path(address, options)
    raise BadAddress(f"--source: unknown kind of address, {scheme}://: expected {_SOURCES}")


def open_sink(address: str, debounce_s: float) -> Sink:
    """Return the sink of an address; raises BadAddress, Refused or MissingPackage.

    `debounce_s` is how long a number of objects must last to become an event.
    """
    scheme = _scheme(address)
    with naming_extra(f"--sink {scheme or 'of this kind'}", _extra(scheme)):
        match scheme:
            case "redis" | "rediss":
                from elastic_yolo.stream.redis.streams import RedisSink  # noqa: PLC0415

                return RedisSink.open(address)
            case "kafka":
                from elastic_yolo.stream.kafka.sink import KafkaSink  # noqa: PLC0415

                return KafkaSink.open(address)
            case "http" | "https":
                from elastic_yolo.stream.sinks.webhook import WebhookSink  # noqa: PLC0415

                return WebhookSink(address, debounce_s)
            case "mqtt" | "mqtts":
                from elastic_yolo.stream.sinks.mqtt import MqttSink  # noqa: PLC0415

                return MqttSink(address, debounce_s)
            case "":
                return _to_path(address)
    raise BadAddress(f"--sink: unknown kind of address, {scheme}://: expected {_SINKS}")


def _of_path(path: str, options: SourceOptions) -> Source:
    if not path:
        # Not the current folder, whose pictures would be moved.
        raise BadAddress(f"--source: the address is empty: expected {_SOURCES}")
    if Path(path).is_dir():
        from elastic_yolo.stream.folder.source import FolderSource  # noqa: PLC0415

        return FolderSource(path, options.claim_after_s)
    if Path(path).is_file():
        from elastic_yolo.stream.cameras.video_file import VideoSource  # noqa: PLC0415

        return VideoSource(path, options.fps)
    raise BadAddress(f"--source: no such file or folder: {path}: expected {_SOURCES}")


def _to_path(path: str) -> Sink:
    from elastic_yolo.stream.sinks.files import (  # noqa: PLC0415
        FileSink,
        FolderSink,
        StdoutSink,
    )

    if path == StdoutSink.name:
        return StdoutSink()
    return FolderSink(path) if Path(path).is_dir() else FileSink(path)


def _scheme(address: str) -> str:
    before, found, _ = address.partition("://")
    return before.lower() if found else ""


def _extra(scheme: str) -> str:
    return "kafka" if scheme == "kafka" else "stream"
