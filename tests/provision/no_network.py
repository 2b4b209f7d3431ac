"""Run a service without a network except loopback, in a network namespace of its own.

`python -m tests.provision.no_network MODEL_PATH` prints the version that served a prediction.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import sys

import httpx

from elastic_yolo.lab.processes.stack import Service, free_port

_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1


def main() -> None:
    """Start inference and request /health/status, which runs a real prediction."""
    _raise_loopback()
    if [name for _, name in socket.if_nameindex()] != ["lo"]:
        sys.exit("there is a network here")
    with Service("inference", free_port(), {"MODEL_PATH": sys.argv[1]}) as service:
        service.wait_ready()
        checked = httpx.get(f"{service.url}/health/status").raise_for_status().json()
    print(checked["model"]["version"])


def _raise_loopback() -> None:
    """Bring loopback up, which is down in a new namespace; see netdevice(7)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))


if __name__ == "__main__":
    main()
