"""An engine on a Unix socket that answers as it is told: well for a while, and then not."""

from __future__ import annotations

import json
import re
import socket
import threading
from pathlib import Path
from typing import Self

WELL = {
    r"/version$": {"Version": "20.10.0", "ApiVersion": "1.41", "MinAPIVersion": "1.12"},
    r"/containers/json": [{"Id": "c", "Names": ["/n"], "Labels": {}, "Ports": [], "Mounts": [], "State": "running"}],
    r"/containers/create": {"Id": "c", "Warnings": []},
    r"/containers/[^/]+/json": {"Config": {"Tty": False}},
    r"/networks": [{"Name": "x", "Id": "i", "Labels": {}}],
    r"/volumes": {"Volumes": [{"Name": "x"}]},
    r"/containers/[^/]+/exec": {"Id": "e"},
    r"/exec/[^/]+/json": {"ExitCode": 0},
    r"/images/json": [{"RepoTags": []}],
    r"/images/[^/]+/json": {"Id": "i", "Config": {}, "RepoDigests": []},
}
"""What an engine says, by the end of what it is asked."""

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
TROUBLE: dict[str, bytes] = {
    "closed at once": b"",
    "cut off in the status line": b"HTTP/1.1 20",
    "cut off in the headers": HEAD[:-9],
    "cut off in the body": HEAD + b'Content-Length: 1000\r\n\r\n{"Id": "',
    "cut off in a chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n40\r\n" + b'{"Id": "',
    "a chunk without a length": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "no HTTP": b"\x00\x01\x02\x03 what is this\r\n\r\n",
    "no JSON": HEAD + b"Content-Length: 13\r\n\r\n<html></html>",
    "half JSON": HEAD + b'Content-Length: 8\r\n\r\n{"Id": "',
    "no UTF-8": HEAD + b"Content-Length: 4\r\n\r\n\xff\xfe\xff\xfe",
    "another object": HEAD + b'Content-Length: 10\r\n\r\n{"x": [1]}',
    "a list": HEAD + b"Content-Length: 9\r\n\r\n[1, null]",
    "null": HEAD + b"Content-Length: 4\r\n\r\nnull",
    "an error without words": b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
    "an error of a proxy": b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 13\r\n\r\n<html></html>",
}


class ScriptedEngine:
    """Answers `well` requests as an engine does (and any for its version, at first), all others by `trouble`."""

    def __init__(self, path: Path | None, trouble: bytes | None, well: int) -> None:
        """`path`: of its socket. None: it is reached by TCP."""
        self.asked: list[str] = []
        self.connections = 0
        self._trouble, self._well = trouble, well
        if path is None:
            self._listener = socket.create_server(("127.0.0.1", 0))
            self.address = "tcp://{}:{}".format(*self._listener.getsockname())
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(path))
            self._listener.listen(16)
            self.address = f"unix://{path}"
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._ended.set()
        self._listener.close()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as reader:
            try:
                while asked := _request(reader):
                    if not self._answer(connection, asked):
                        return
            except (OSError, ValueError):  # the client has gone
                return

    def _answer(self, connection: socket.socket, asked: str) -> bool:
        """False: the connection is at its end."""
        self.asked.append(asked)
        first = len(self.asked) == 1
        if not first and len(self.asked) - 1 > self._well:
            if self._trouble is None:  # silence
                self._ended.wait(60)
            else:
                connection.sendall(self._trouble)
            return False
        said = json.dumps(next((said for end, said in WELL.items() if re.search(end, asked)), {})).encode()
        connection.sendall(HEAD + f"Content-Length: {len(said)}\r\n\r\n".encode() + said)
        return True


def _request(reader: object) -> str:
    """Read one request to its end; its path without what follows `?`. Empty: no more come."""
    line = reader.readline()  # type: ignore[attr-defined]
    if b"HTTP/1.1" not in line:  # the end, or what a program is sent on a connection that was upgraded
        return ""
    length, chunked = 0, False
    while (header := reader.readline()) not in (b"\r\n", b""):  # type: ignore[attr-defined]
        name, _, value = header.decode().partition(":")
        length = int(value) if name.lower() == "content-length" else length
        chunked = chunked or (name.lower(), value.strip()) == ("transfer-encoding", "chunked")
    if chunked:
        while size := int(reader.readline(), 16):  # type: ignore[attr-defined]
            reader.read(size + 2)  # type: ignore[attr-defined]
        reader.readline()  # type: ignore[attr-defined]
    reader.read(length)  # type: ignore[attr-defined]
    return line.decode().split(" ")[1].split("?")[0]
