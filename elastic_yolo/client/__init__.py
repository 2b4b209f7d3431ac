"""The client of the web service, as a library: pictures out, typed answers back.

Its public names are

    from elastic_yolo.client import Client, AsyncClient, Answer, Detection, Model
    from elastic_yolo.client import errors

It needs httpx, and nothing of the detector: `elastic-yolo[client]`. docs/client.md describes it.
"""

from elastic_yolo.client import errors
from elastic_yolo.client.answer import Answer, Model
from elastic_yolo.detection import Detection
from elastic_yolo.extras import naming_extra

with naming_extra(__name__, "client"):
    from elastic_yolo.client.asynchronous import AsyncClient
    from elastic_yolo.client.synchronous import Client

__all__ = ["Answer", "AsyncClient", "Client", "Detection", "Model", "errors"]
