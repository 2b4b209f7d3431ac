"""One tier: FastAPI under uvicorn, with the work in the thread pool."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool

from bench.peers.work import read_settings

SETTINGS = read_settings()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Load the model, once in every worker."""
    app.state.detector = SETTINGS.load()
    yield


app = FastAPI(lifespan=lifespan)


@app.post("/inference")
async def inference(request: Request) -> dict[str, Any]:
    """Return the detections of a picture."""
    data = await request.body()
    found = await run_in_threadpool(request.app.state.detector.detect, data, SETTINGS.threshold)
    return {"data": found}


if __name__ == "__main__":
    uvicorn.run(
        "server:app",
        port=SETTINGS.port,
        workers=SETTINGS.workers,
        access_log=False,
        log_level="warning",
    )
