"""Large bodies over raw sockets, so that neither the client nor the host is what one waits for: uploads come
out of a file by `sendfile`, and what is received is counted and thrown away by the kernel (`MSG_TRUNC`),
without a copy.

Run as a program it is the host that takes uploads: `bodies.py PORT` answers each PUT, when it is whole, with
its size."""

from __future__ import annotations

import socket
import sys
import threading
from pathlib import Path

CHUNK = 1 << 20
HEAD_LIMIT = 64 << 10
SECONDS = 60.0


class BodyError(Exception):
    """A message that is not what was expected."""


def receive_head(connection: socket.socket) -> tuple[str, dict[str, str], bytes]:
    """The first line and the fields of a message, and what came behind them; an empty line where the other
    side left."""
    text = b""
    while b"\r\n\r\n" not in text:
        more = connection.recv(16 << 10)
        if not more:
            return "", {}, b""
        text += more
        if len(text) > HEAD_LIMIT:
            raise BodyError("a head without an end")
    head, _, behind = text.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return first, {name.strip().lower(): value.strip() for name, _, value in pairs}, behind


def discard(connection: socket.socket, length: int) -> None:
    """Takes `length` bytes off a connection without looking at them."""
    space = bytearray(CHUNK)
    while length > 0:
        taken = connection.recv_into(space, min(length, CHUNK), socket.MSG_TRUNC)
        if taken == 0:
            raise BodyError(f"the other side left {length} bytes before the end")
        length -= taken


class Client:
    """One connection for bodies."""

    def __init__(self, port: int, token: str) -> None:
        self._connection = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
        self._fields = f"Host: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n"

    def close(self) -> None:
        self._connection.close()

    def _answer(self) -> tuple[int, bytes]:
        first, fields, behind = receive_head(self._connection)
        if " 200 " not in f"{first} ":
            raise BodyError(f"answered `{first}`")
        if "content-length" not in fields:
            raise BodyError("answered without a length")
        return int(fields["content-length"]), behind

    def download(self, path: str) -> int:
        """Takes one answer; the size of its body."""
        self._connection.sendall(f"GET {path} HTTP/1.1\r\n{self._fields}\r\n".encode())
        length, behind = self._answer()
        discard(self._connection, length - len(behind))
        return length

    def upload(self, path: str, file: Path) -> int:
        """Sends a file; how many bytes the host says that it got."""
        size = file.stat().st_size
        head = f"PUT {path} HTTP/1.1\r\n{self._fields}Content-Type: application/octet-stream\r\nContent-Length: {size}\r\n\r\n"
        self._connection.sendall(head.encode())
        with file.open("rb") as body:
            self._connection.sendfile(body)
        length, answer = self._answer()
        while len(answer) < length:
            answer += self._connection.recv(length - len(answer)) or b" " * length
        return int(answer)


def take_uploads(connection: socket.socket) -> None:
    """Answers each upload of one connection with its size."""
    with connection:
        while True:
            first, fields, behind = receive_head(connection)
            if not first:
                return
            length = int(fields["content-length"])
            discard(connection, length - len(behind))
            answer = str(length)
            connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(answer)}\r\n\r\n{answer}".encode())


def sink(port: int) -> None:
    """Listens for uploads until it is told to end."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(64)
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=take_uploads, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    sink(int(sys.argv[1]))
