"""The ways to a session of `dagger_server.py`: over HTTP as in `dagger run`, or through a CLI that reaches its engine.

The CLI is a program of its own, as the real one is: it opens the session where it was started, listens for tunnels
there, and everything that it has of the engine comes over the address of `_EXPERIMENTAL_DAGGER_RUNNER_HOST`.
"""

from __future__ import annotations

import base64
import json
import shutil
import socketserver
import tempfile
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.contract.dagger_services import Attachment

if TYPE_CHECKING:
    from tests.contract.dagger_server import Session

TOKEN = "token-of-the-session"


class SessionServer(ThreadingHTTPServer):
    """The session over HTTP, as `dagger session` offers it."""

    daemon_threads = True

    def __init__(self, session: Session) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.session = session
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def environment(self) -> dict[str, str]:
        return {"DAGGER_SESSION_PORT": str(self.server_address[1]), "DAGGER_SESSION_TOKEN": TOKEN}

    def close(self) -> None:
        self.session.close()
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: SessionServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        expected = base64.b64encode(f"{TOKEN}:".encode()).decode()
        if self.path != "/query" or self.headers["Authorization"] != f"Basic {expected}":
            self.server.session.problems.append(f"{self.path} without the session's token")
            self._send(401, "{}")
            return
        try:
            self._send(200, self.server.session.answer(json.loads(body)))
        except Exception as error:  # noqa: BLE001 - a mistake of this server must not look like one of the engine
            self.server.session.problems.append(repr(error))
            self._send(500, "{}")

    def _send(self, status: int, text: str) -> None:
        with suppress(OSError):  # whoever asked has been ended
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

    def log_message(self, *_args: Any) -> None:
        pass


class _ForCli(socketserver.BaseRequestHandler):
    """One connection of the CLI: its first line says what it is for."""

    server: Any

    def handle(self) -> None:
        engine: EngineServer = self.server.engine
        words = self._line().split()
        if words[:1] == ["http"]:
            with suppress(OSError):
                _Handler(self.request, ("cli", 0), engine.http)  # type: ignore[arg-type]
        if words[:1] == ["attach"]:
            engine.session.attached = Attachment(self.request)
            engine.session.released.wait()
        if words[:1] == ["service"] and engine.session.attached:
            engine.session.attached.answers[int(words[1])](self.request)
        if words[:1] == ["end"]:
            engine.session.end()

    def _line(self) -> str:
        line = b""
        while not line.endswith(b"\n"):
            if not (byte := self.request.recv(1)):
                break
            line += byte
        return line.decode()


class _Tcp(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


class _Unix(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


class EngineServer:
    """The engine as a CLI reaches it: at a socket file, and at a port of the loopback address."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.http = SessionServer(session)
        self._folder = Path(tempfile.mkdtemp(prefix="mt-", dir="/tmp"))  # the path of a socket is short
        self._servers = [_Unix(str(self._folder / "engine"), _ForCli), _Tcp(("127.0.0.1", 0), _ForCli)]
        for server in self._servers:
            server.engine = self  # type: ignore[attr-defined]
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self.unix = f"unix://{self._folder}/engine"
        self.tcp = f"tcp://127.0.0.1:{self._servers[1].server_address[1]}"

    def close(self) -> None:
        self.http.close()
        for server in self._servers:
            server.shutdown()
            server.server_close()
        shutil.rmtree(self._folder)


FAKE_CLI = '''\
#!{python}
"""A Dagger CLI that behaves as FAKE_DAGGER says."""
import json, os, socket, subprocess, sys, threading, time, urllib.parse
mode = os.environ.get("FAKE_DAGGER", "")
if sys.argv[1] == "version":
    time.sleep(60 if mode == "silent" else float(os.environ.get("FAKE_DAGGER_VERSION_TAKES", "0")))
    print("dagger v0.20.3 (image) linux/amd64" if mode == "old" else "dagger v0.21.11 (image) linux/amd64")
    sys.exit(0)
with open(os.environ["FAKE_DAGGER_SEEN"], "w") as file:
    json.dump({{name: value for name, value in os.environ.items()}}, file)
if mode == "crash":
    sys.exit("panic: the engine exploded")
if mode == "garbage":
    print("Welcome to Dagger!", flush=True)
    sys.exit(0)
child = subprocess.Popen(["sleep", "600"])  # as the docker command that starts the engine's container
open(os.path.join(os.environ["TMPDIR"], "half-written"), "w").close()
if mode == "hang":
    time.sleep(600)

def say(line):
    print(line if os.environ.get("NO_COLOR") else "\\x1b[31m" + line + "\\x1b[0m", file=sys.stderr, flush=True)

if mode == "noisy":
    for number in range(20000):
        print("engine line", number, "x" * 60, file=sys.stderr)
    sys.stderr.flush()

def engine(words):
    at = urllib.parse.urlsplit(os.environ["_EXPERIMENTAL_DAGGER_RUNNER_HOST"])
    if at.scheme == "unix":
        found = socket.socket(socket.AF_UNIX)
        found.connect(at.path)
    else:
        found = socket.create_connection((at.hostname, at.port))
    found.sendall(words.encode() + b"\\n")
    return found

def copy(source, sink):
    try:
        while piece := source.recv(65536):
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass

def accept(listener, words):
    try:
        while True:
            here, _ = listener.accept()
            there = engine(words)
            for pair in ((here, there), (there, here)):
                threading.Thread(target=copy, args=pair, daemon=True).start()
    except OSError:
        pass

def serve(listener, words):
    threading.Thread(target=accept, args=(listener, words), daemon=True).start()

def carry_out(orders):
    listeners = {{}}
    for line in orders:
        order, why = json.loads(line), ""
        if "say" in order:
            say(order["say"])
        if "listen" in order:
            try:
                listeners[order["id"]] = socket.create_server(("0.0.0.0", order["listen"]), backlog=64)
                serve(listeners[order["id"]], "service " + str(order["id"]))
            except OSError as error:
                why = error.strerror
        if "close" in order:
            closed = listeners.pop(order["close"])
            closed.shutdown(socket.SHUT_RDWR)
            closed.close()
        orders.write(json.dumps(why) + "\\n")
        orders.flush()

try:
    attached = engine("attach")
except OSError as error:
    sys.exit("failed to connect to the engine: " + str(error))
threading.Thread(target=carry_out, args=(attached.makefile("rw"),), daemon=True).start()
front = socket.create_server(("127.0.0.1", 0))
serve(front, "http")
print(json.dumps({{"port": front.getsockname()[1], "session_token": os.environ["FAKE_TOKEN"]}}), flush=True)
if mode == "dies":
    time.sleep(float(os.environ.get("FAKE_DAGGER_LIFE", "1")))
    sys.exit("panic: out of disk")
sys.stdin.read()
if mode == "never-ends":
    time.sleep(600)
engine("end").recv(1)
child.kill()
'''
