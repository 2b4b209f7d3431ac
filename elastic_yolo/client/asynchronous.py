"""The client for programs with asyncio."""

from __future__ import annotations

import asyncio
import time
from typing import Self

import httpx

from elastic_yolo.client.answer import Answer, read_answer
from elastic_yolo.client.asking import (
    Asked,
    Picture,
    ask_for_detections,
    ask_for_drawing,
    check_timeout,
    content_of_async,
    http_options,
    parameters,
    server_name,
)
from elastic_yolo.client.attempts import NoReply, Send, Wait, attempts
from elastic_yolo.client.exchange import as_reply, require_open, require_type, stream_arguments
from elastic_yolo.client.reply import Body, Reply


class AsyncClient:
    """Sends pictures to the web service; a context manager, which closes the connections.

    Several tasks of one event loop may use it at the same time.
    """

    def __init__(self, url: str, *, token: str | None = None, timeout_s: float = 60.0) -> None:
        """Prepare connections to the web service at `url`, such as http://127.0.0.1:5000.

        `token` is an API key or a token; without one, that of ELASTIC_YOLO_TOKEN is used.
        `timeout_s` is the longest time of a call, with all attempts and the waits between them.
        Raises BadArgument.
        """
        self._timeout_s = check_timeout(timeout_s)
        self._server = server_name(url)
        self._http = httpx.AsyncClient(**http_options(url, token))

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def detect(
        self,
        picture: Picture,
        *,
        model: str | None = None,
        threshold: float | None = None,
        iou: float | None = None,
    ) -> Answer:
        """Return the objects in a picture: the path of a file, or its content.

        A busy or absent service is asked again, as it wishes, until the time of the call is over.
        Raises ClientError, and OSError for a file that cannot be read within that time.
        """
        params, until = parameters(model, threshold, iou), self._until()
        asked = ask_for_detections(await content_of_async(picture, self._timeout_s), params)
        return read_answer(await self._call(asked, until))

    async def draw(
        self,
        picture: Picture,
        media_type: str = "image/jpeg",
        *,
        model: str | None = None,
        threshold: float | None = None,
        iou: float | None = None,
    ) -> bytes:
        """Return the picture with its boxes as a JPEG, or as image/png; raises as `detect`."""
        params, until = parameters(model, threshold, iou), self._until()
        content = await content_of_async(picture, self._timeout_s)
        asked = ask_for_drawing(content, params, media_type)
        return require_type(await self._call(asked, until), media_type)

    def _until(self) -> float:
        return time.monotonic() + self._timeout_s

    async def _call(self, asked: Asked, until: float) -> Reply:
        steps = attempts(until - time.monotonic(), self._server)
        outcome: Reply | NoReply | None = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as done:
                reply: Reply = done.value
                return reply
            match step:
                case Send():
                    outcome = await self._send(asked, step)
                case Wait(seconds=seconds):
                    await asyncio.sleep(seconds)
                    outcome = None

    async def _send(self, asked: Asked, step: Send) -> Reply | NoReply:
        require_open(self._http)
        body = Body(asked.most_bytes, time.monotonic() + step.timeout_s)
        try:
            async with (
                asyncio.timeout(step.timeout_s),
                self._http.stream(**stream_arguments(asked, step)) as response,
            ):
                async for piece in response.aiter_bytes():
                    body.add(piece)
                return as_reply(response, body)
        except (httpx.HTTPError, TimeoutError) as error:
            return NoReply.of(error)
