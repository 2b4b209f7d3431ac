"""TLS in front of a server that has none, with a certificate that it signed itself."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Make a key and a certificate for 127.0.0.1; returns their files."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    openssl = shutil.which("openssl")
    assert openssl
    command = [openssl, *"req -x509 -newkey rsa:2048 -nodes -days 3 -subj /CN=localhost".split()]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]
    subprocess.run([*command, *names], check=True, capture_output=True)
    return key, certificate


@contextmanager
def tls_front(port: int, key: Path, certificate: Path) -> Iterator[int]:
    """Pass connections on to a port of this machine until the block ends; yields the port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def accept(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                plain, _ = listener.accept()
                Thread(target=pass_on, args=(plain,), daemon=True).start()

    def pass_on(plain: socket.socket) -> None:
        # A client that does not accept the certificate ends the handshake.
        with plain, suppress(OSError):
            client = context.wrap_socket(plain, server_side=True)
            with client, socket.create_connection(("127.0.0.1", port)) as server:
                back = Thread(target=_pump, args=(server, client), daemon=True)
                back.start()
                _pump(client, server)
                back.join()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        Thread(target=accept, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(2**16):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)
