"""The kinds of requests, how often each is sent, and what each may get."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple

from bench.soak.exchange import Address, Leaving, Reply, Request
from bench.soak.judgement import Rule, allow
from bench.soak.samples import Query, Sample, TensorSample, broken_pictures, huge_picture

Planned = tuple[Request, Rule]

_BOUNDARY = "0123456789soak"
_LIMIT_BYTES = 20_000_000
_HEADER_LENGTH = "Inference-Header-Content-Length"
_INFER = "/v2/models/{}/infer"
# A caller's budget runs out: refused at once, or late.
_LATE = (429, 504)
DRAWN = ("image/png", "image/jpeg")
"""Formats of drawings."""


@dataclass(frozen=True)
class World:
    """What requests are made of."""

    web: Address
    preprocess: Sequence[Address]
    inference: Sequence[Address]
    model: str
    ensemble: str
    """The value of the parameter `model` for both models together."""
    samples: Sequence[Sample]
    tensor: TensorSample
    drawn_right: Callable[[Sample, Reply], bool]
    """Whether an answer is the sample with its boxes."""
    broken: Sequence[tuple[bytes, str]] = field(init=False)

    def __post_init__(self) -> None:
        """Make the broken pictures once."""
        object.__setattr__(self, "broken", broken_pictures(self.samples))

    @property
    def everyone(self) -> list[Address]:
        """All processes."""
        return [self.web, *self.preprocess, *self.inference]


def head(method: str, path: str, *lines: str) -> bytes:
    """Return the head of a request."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: soak", *lines, "", ""]).encode()


def post(path: str, body: bytes, kind: str, *lines: str) -> bytes:
    """Return a whole POST request."""
    return (
        head("POST", path, f"Content-Type: {kind}", f"Content-Length: {len(body)}", *lines) + body
    )


def split(data: bytes, pieces: int, rng: Random) -> tuple[bytes, ...]:
    """Cut bytes into at most `pieces` pieces, at random places."""
    cuts = sorted({rng.randrange(1, len(data)) for _ in range(pieces - 1)})
    return tuple(data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True))


def chunked(pieces: Sequence[bytes]) -> list[bytes]:
    """Return pieces as chunks of Transfer-Encoding: chunked, with the last one."""
    return [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces] + [b"0\r\n\r\n"]


def form(picture: bytes, media_type: str) -> tuple[bytes, str]:
    """Return a form with the picture as body, and its Content-Type."""
    disposition = 'Content-Disposition: form-data; name="{}"'
    parts = [
        f"--{_BOUNDARY}\r\n{disposition.format('note')}\r\n\r\na soak\r\n",
        f'--{_BOUNDARY}\r\n{disposition.format("image")}; filename="picture"\r\n',
        f"Content-Type: {media_type}\r\n\r\n",
    ]
    body = "".join(parts).encode() + picture + f"\r\n--{_BOUNDARY}--\r\n".encode()
    return body, f"multipart/form-data; boundary={_BOUNDARY}"


def _detected(sample: Sample, query: Query) -> Rule:
    # 200 even while a process is killed, frozen or drained: another one takes over.
    return allow(200, is_right=lambda reply: sample.is_right(query, reply.body))


def _choose(world: World, rng: Random, *, ensemble: bool = False) -> tuple[Sample, Query, str]:
    """Return a sample, a query with expected detections, and the path of the request."""
    sample = rng.choice(world.samples)
    query = rng.choice([one for one in sample.expected if one.ensemble is ensemble])
    return sample, query, f"/inference{query.text(world.ensemble)}"


def picture_as_body(world: World, rng: Random) -> Planned:
    """Send a picture as the body."""
    sample, query, path = _choose(world, rng)
    data = post(path, sample.content, sample.media_type)
    return Request(world.web, (data,), kept=rng.random() < 0.7), _detected(sample, query)


def picture_in_form(world: World, rng: Random) -> Planned:
    """Send a picture in a form."""
    sample, query, path = _choose(world, rng)
    body, kind = form(sample.content, sample.media_type)
    request = Request(world.web, (post(path, body, kind),), kept=rng.random() < 0.5)
    return request, _detected(sample, query)


def picture_in_chunks(world: World, rng: Random) -> Planned:
    """Send a picture or a form in chunks, without its length."""
    sample, query, path = _choose(world, rng)
    body, kind = sample.content, sample.media_type
    if rng.random() < 0.5:
        body, kind = form(body, kind)
    start = head("POST", path, f"Content-Type: {kind}", "Transfer-Encoding: chunked")
    pieces = chunked(split(body, rng.randint(1, 12), rng))
    # All at once, or each in a segment of its own.
    sent = (start + b"".join(pieces),) if rng.random() < 0.5 else (start, *pieces)
    return Request(world.web, sent, kept=rng.random() < 0.5), _detected(sample, query)


def ensemble(world: World, rng: Random) -> Planned:
    """Have both models look at a picture."""
    sample, query, path = _choose(world, rng, ensemble=True)
    request = Request(world.web, (post(path, sample.content, sample.media_type),), kept=True)
    return request, _detected(sample, query)


def drawing(world: World, rng: Random) -> Planned:
    """Have the boxes drawn."""
    sample = rng.choice(world.samples)
    kind = rng.choice(DRAWN)
    data = post("/inference", sample.content, sample.media_type, f"Accept: {kind}")
    rule = allow(200, is_right=lambda reply: world.drawn_right(sample, reply))
    return Request(world.web, (data,), kept=rng.random() < 0.5), rule


def slow_sender(world: World, rng: Random) -> Planned:
    """Send a picture in pieces, with pauses shorter than the limit of a stall."""
    sample, query, path = _choose(world, rng)
    pieces = split(post(path, sample.content, sample.media_type), rng.randint(3, 8), rng)
    pause_s = rng.uniform(0.05, 0.6)
    return Request(world.web, pieces, pause_s=pause_s), _detected(sample, query)


def slow_reader(world: World, rng: Random) -> Planned:
    """Let an answer of some hundred kilobytes wait."""
    sample = rng.choice(world.samples)
    data = post("/inference", sample.content, sample.media_type, "Accept: image/png")
    rule = allow(200, is_right=lambda reply: world.drawn_right(sample, reply))
    return Request(world.web, (data,), read_after_s=rng.uniform(0.5, 4)), rule


def short_deadline(world: World, rng: Random) -> Planned:
    """Give the services less time than they may need."""
    sample, query, path = _choose(world, rng)
    budget = f"X-Timeout-Ms: {rng.randint(1, 400)}"
    data = post(path, sample.content, sample.media_type, budget)
    # In a fault the time may end while a connection is opened again: 503.
    rule = allow(
        200,
        *_LATE,
        is_right=lambda reply: sample.is_right(query, reply.body),
        in_faults=(503,),
    )
    return Request(world.web, (data,), kept=True), rule


def broken_picture(world: World, rng: Random) -> Planned:
    """Send what is no picture, or no whole one."""
    content, kind = rng.choice(world.broken)
    if rng.random() < 0.5:
        content, kind = form(content, kind)
    request = Request(world.web, (post("/inference", content, kind),), kept=rng.random() < 0.5)
    return request, allow(415, 422)


def half_jpeg(world: World, rng: Random) -> Planned:
    """Send half of a JPEG."""
    sample = next(one for one in world.samples if one.media_type == "image/jpeg")
    content = sample.content[: rng.randrange(len(sample.content) // 3, len(sample.content) // 2)]
    return Request(world.web, (post("/inference", content, "image/jpeg"),)), allow(422)


def unknown_model(world: World, rng: Random) -> Planned:
    """Ask for a model or an ensemble that there is not."""
    sample = rng.choice(world.samples)
    name = rng.choice(["nothing", "ensemble:nothing%2B" + world.model])
    data = post(f"/inference?model={name}", sample.content, sample.media_type)
    return Request(world.web, (data,), kept=True), allow(404)


class _Wrong(NamedTuple):
    """A request that is wrong, and the statuses that say so."""

    data: bytes
    statuses: tuple[int, ...]
    ends: bool = False
    """Whether it ends the connection."""


def _wrong_requests(picture: bytes) -> list[_Wrong]:
    jpeg = "image/jpeg"
    return [
        _Wrong(head("GET", "/nothing"), (404,)),
        _Wrong(head("DELETE", "/inference"), (405,)),
        _Wrong(head("GET", "/inference"), (405,)),
        _Wrong(post("/livez", b"", jpeg), (405,)),
        _Wrong(post("/inference", picture, "text/plain"), (415,)),
        _Wrong(post("/inference", picture, "multipart/form-data"), (400,)),
        _Wrong(post("/inference", picture, "multipart/form-data; boundary=x"), (400,)),
        _Wrong(post("/inference", b"", jpeg), (400,)),
        _Wrong(post("/inference?threshold=7", picture, jpeg), (422,)),
        _Wrong(post("/inference?iou=much", picture, jpeg), (422,)),
        _Wrong(post("/inference", picture, jpeg, "X-Timeout-Ms: soon"), (400,)),
        _Wrong(post(f"/inference?model={'m' * 500}", picture, jpeg), (422,)),
        _Wrong(post("/inference?thresholds=0.3", picture, jpeg), (422,)),
        _Wrong(post("/inference", picture, jpeg, "Content-Encoding: br"), (415,)),
        # Without a length.
        _Wrong(head("POST", "/inference", f"Content-Type: {jpeg}"), (411,), ends=True),
        _Wrong(b"SOAK\r\n\r\n", (400,), ends=True),
        _Wrong(head("GET", "/livez", "no colon"), (400,), ends=True),
        _Wrong(head("GET", "/livez", "X-Long: " + "x" * 70_000), (400,), ends=True),
        _Wrong(head("POST", "/inference", "Content-Length: -1"), (400,), ends=True),
        _Wrong(
            head("POST", "/inference", f"Content-Type: {jpeg}", "Transfer-Encoding: chunked")
            + b"length\r\n",
            (400,),
            ends=True,
        ),
    ]


def wrong_request(world: World, rng: Random) -> Planned:
    """Send a request with one mistake."""
    wrong = rng.choice(_wrong_requests(world.samples[0].content))
    return Request(world.web, (wrong.data,), kept=not wrong.ends), allow(*wrong.statuses)


def too_large(world: World, rng: Random) -> Planned:
    """Announce a body, or a picture, beyond the limits; send no more until it is refused."""
    if rng.random() < 0.5:
        return Request(world.web, (post("/inference", huge_picture(), "image/png"),)), allow(413)
    length = f"Content-Length: {_LIMIT_BYTES + rng.randint(1, 10**12)}"
    start = head("POST", "/inference", "Content-Type: image/jpeg", length)
    return Request(world.web, (start + world.samples[0].content,)), allow(413)


def too_large_chunks(world: World, _rng: Random) -> Planned:
    """Send more than the limit in chunks, whatever the service says; it may close."""
    start = head("POST", "/inference", "Content-Type: image/jpeg", "Transfer-Encoding: chunked")
    pieces = chunked([bytes(2**20)] * (_LIMIT_BYTES // 2**20 + 3))
    return Request(world.web, (start, *pieces)), allow(413, may_close=True)


def encoded_body(world: World, rng: Random) -> Planned:
    """Send a compressed picture."""
    sample, query, path = _choose(world, rng)
    encoding, window = rng.choice([("gzip", 31), ("deflate", 15), ("deflate", -15)])
    packed = zlib.compress(sample.content, 1, window)
    data = post(path, packed, sample.media_type, f"Content-Encoding: {encoding}")
    return Request(world.web, (data,)), _detected(sample, query)


def upgrade_offer(world: World, rng: Random) -> Planned:
    """Offer HTTP/2 as Java's client does."""
    sample, query, path = _choose(world, rng)
    offer = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
    data = post(path, sample.content, sample.media_type, *offer)
    return Request(world.web, (data,)), _detected(sample, query)


def caller_leaves(world: World, rng: Random) -> Planned:
    """Leave before the head, in it, in the body, after it, or in the answer."""
    sample, _, path = _choose(world, rng)
    data = post(path, sample.content, sample.media_type, f"Accept: {sample.media_type}")
    start = data.index(b"\r\n\r\n") + 4
    ends = [0, rng.randrange(1, start), start, rng.randrange(start, len(data)), len(data)]
    stage = rng.randrange(len(ends) + 1)
    leaving = Leaving.AFTER_SENDING if stage < len(ends) else Leaving.IN_ANSWER
    sent = data[: ends[stage]] if stage < len(ends) else data
    reset = rng.random() < 0.5
    return Request(world.web, (sent,), leaving=leaving, reset=reset), allow()


def stalled_body(world: World, rng: Random) -> Planned:
    """Send a part of a body, then nothing."""
    sample = rng.choice(world.samples)
    data = post("/inference", sample.content, sample.media_type)
    return Request(world.web, (data[: len(data) * 2 // 3],)), allow(504)


def stalled_head(world: World, rng: Random) -> Planned:
    """Send a part of a head, then nothing, to any process."""
    to = rng.choice(world.everyone)
    return Request(to, (b"POST /inference HT",)), allow(504)


def status(world: World, rng: Random) -> Planned:
    """Have a process check itself and those behind it."""
    rule = allow(
        200,
        is_right=lambda reply: json.loads(reply.body)["status"] == "ok",
        in_faults=(429, 503, 504),
    )
    return Request(rng.choice(world.everyone), (head("GET", "/health/status"),)), rule


def probe(world: World, rng: Random) -> Planned:
    """Read one of the pages that every process has."""
    pages = {
        "/livez": b'"alive"',
        "/readyz": b'"ready"',
        "/health/ping": b"pong",
        "/metrics": b"elastic_yolo_requests_total",
        "/openapi.json": b"openapi",
        "/docs": b"<html",
    }
    path = rng.choice(list(pages))
    rule = allow(
        200,
        is_right=lambda reply: pages[path] in reply.body,
        # Those behind may be away for a moment.
        in_faults=(503,) if path == "/readyz" else (),
    )
    request = Request(rng.choice(world.everyone), (head("GET", path),), kept=rng.random() < 0.5)
    return request, rule


def only_head(world: World, rng: Random) -> Planned:
    """Send HEAD: the answer has no body."""
    path = rng.choice(["/livez", "/readyz", "/metrics", "/openapi.json"])
    rule = allow(200, in_faults=(503,) if path == "/readyz" else ())
    request = Request(rng.choice(world.everyone), (head("HEAD", path),), without_body=True)
    return request, rule


def tensor(world: World, rng: Random) -> Planned:
    """Send a tensor to an inference process: bytes, or now and then JSON numbers."""
    pixels = world.tensor.pixels
    described: dict[str, Any] = {"name": "images", "datatype": "UINT8", "shape": list(pixels.shape)}
    rule = allow(200, is_right=lambda reply: world.tensor.is_right(reply.body))
    to, path = rng.choice(world.inference), _INFER.format(world.model)
    if rng.random() < 0.1:
        body = json.dumps({"inputs": [described | {"data": pixels.ravel().tolist()}]}).encode()
        return Request(to, (post(path, body, "application/json"),)), rule
    described["parameters"] = {"binary_data_size": pixels.nbytes}
    start = json.dumps({"inputs": [described]}).encode()
    length = f"{_HEADER_LENGTH}: {len(start)}"
    data = post(path, start + pixels.tobytes(), "application/octet-stream", length)
    return Request(to, (data,), kept=rng.random() < 0.5), rule


def wrong_tensor(world: World, rng: Random) -> Planned:
    """Send an inference process a request with one mistake."""
    path = _INFER.format(world.model)
    kind = "application/json"
    data, statuses = rng.choice(
        [
            (post(path, b"{", kind), (400,)),
            (post(path, b'{"inputs": []}', kind), (400,)),
            (post(_INFER.format("nothing"), b"{}", kind), (404,)),
            (post(path, b"{}", kind, f"{_HEADER_LENGTH}: 99"), (400,)),
            (head("GET", "/v2/models/nothing"), (404,)),
            (head("POST", path, f"Content-Length: {10**9}"), (413,)),
        ]
    )
    return Request(rng.choice(world.inference), (data,)), allow(*statuses)


KINDS: dict[Callable[[World, Random], Planned], float] = {
    picture_as_body: 20,
    picture_in_form: 10,
    picture_in_chunks: 8,
    drawing: 3,
    ensemble: 2,
    slow_sender: 4,
    slow_reader: 1,
    short_deadline: 4,
    broken_picture: 8,
    half_jpeg: 1,
    unknown_model: 2,
    wrong_request: 8,
    too_large: 2,
    too_large_chunks: 0.2,
    encoded_body: 1,
    upgrade_offer: 1,
    caller_leaves: 6,
    stalled_body: 0.5,
    stalled_head: 0.3,
    status: 2,
    probe: 6,
    only_head: 1,
    tensor: 5,
    wrong_tensor: 2,
}
"""Each kind, and its share of all requests."""
