"""Requests that no client library sends."""

from __future__ import annotations

import socket

from elastic_yolo.lab.processes.stack import LOOPBACK, Service


def status_without_body(service: Service, path: str, announced: int, head: str = "") -> int:
    """Send a head that announces a body, and return the status that arrives without the body."""
    with socket.create_connection((LOOPBACK, service.port), timeout=60) as connection:
        lines = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {announced}\r\n{head}\r\n"
        connection.sendall(lines.encode())
        return int(connection.recv(4096).split()[1])
