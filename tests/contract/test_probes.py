"""Looks at ports, against real sockets."""

from __future__ import annotations

import http.server
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from moorage.adapters.probes import SocketProber

PROBER = SocketProber()
ADDRESSES = ["127.0.0.1", "0.0.0.0", "::1", "::", "dual"]


def bound(address, kind=socket.SOCK_STREAM, port=0, *, reuse=False):
    """A socket bound to the address; `dual`: `::` that takes IPv4 too."""
    family = socket.AF_INET if "." in address else socket.AF_INET6
    made = socket.socket(family, kind)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address != "dual")
    made.bind(("::" if address == "dual" else address, port))
    return made


@pytest.fixture
def free_port():
    with bound("127.0.0.1") as found:
        return found.getsockname()[1]


@pytest.mark.parametrize(("protocol", "kind"), [("tcp", socket.SOCK_STREAM), ("udp", socket.SOCK_DGRAM)])
def test_what_is_held_nobody_else_gets(free_port, protocol, kind):
    release = PROBER.hold([(free_port, protocol, "127.0.0.1"), (free_port, protocol, "127.0.0.1")])
    with pytest.raises(OSError, match="in use"), bound("127.0.0.1", kind, free_port, reuse=protocol == "tcp") as other:
        other.listen()
    release()
    assert PROBER.bindable(free_port, protocol, "127.0.0.1")


@pytest.fixture
def server():
    """Starts a TCP server that does `handle(connection)` to each; gives its port."""
    stop, started = threading.Event(), []

    def start(handle, address="127.0.0.1"):
        listener = bound(address)
        listener.listen()
        listener.settimeout(0.1)

        def serve():
            with listener:
                while not stop.is_set():
                    try:
                        connection, _ = listener.accept()
                    except TimeoutError:
                        continue
                    with connection:
                        handle(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        started.append(thread)
        return listener.getsockname()[1]

    yield start
    stop.set()
    for thread in started:
        thread.join()


class TestBindable:
    def test_free(self, free_port):
        for protocol in ("tcp", "udp", "sctp"):
            assert PROBER.bindable(free_port, protocol, "127.0.0.1")

    @pytest.mark.parametrize("host_ip", ["127.0.0.1", "0.0.0.0", "::1", "::"])
    @pytest.mark.parametrize("address", ADDRESSES)
    def test_a_listener_at_any_address(self, address, host_ip):
        with bound(address) as listener:
            listener.listen()
            assert not PROBER.bindable(listener.getsockname()[1], "tcp", host_ip)

    @pytest.mark.parametrize("address", ADDRESSES)
    def test_a_listener_that_allows_reuse(self, address, free_port):
        with bound(address, port=free_port, reuse=True) as listener:
            listener.listen()
            assert not PROBER.bindable(free_port, "tcp", "127.0.0.1")

    @pytest.mark.parametrize("address", ADDRESSES)
    def test_datagrams(self, address):
        with bound(address, socket.SOCK_DGRAM) as receiver:
            port = receiver.getsockname()[1]
            assert not PROBER.bindable(port, "udp", "127.0.0.1")

    def test_the_protocols_are_apart(self):
        with bound("127.0.0.1", socket.SOCK_DGRAM) as receiver:
            assert PROBER.bindable(receiver.getsockname()[1], "tcp", "127.0.0.1")

    def test_connections_in_time_wait_are_no_obstacle(self):
        # As servers do, docker-proxy among them. After one that does not allow reuse, nobody can bind for a minute.
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            client = socket.create_connection(("127.0.0.1", port))
            served, _ = listener.accept()
            served.close()  # who closes first waits
            client.recv(1)
            client.close()
        assert f":{port:04X}" in Path("/proc/net/tcp").read_text()
        assert PROBER.bindable(port, "tcp", "127.0.0.1")

    def test_looking_leaves_nothing_behind(self, free_port):
        for _ in range(20):
            assert PROBER.bindable(free_port, "tcp", "127.0.0.1")
        with bound("127.0.0.1", port=free_port) as listener:
            listener.listen()

    def test_an_address_of_another_machine_is_for_the_engine_to_judge(self, free_port):
        assert PROBER.bindable(free_port, "tcp", "192.0.2.1")

    def test_a_machine_without_ipv6(self, free_port, monkeypatch):
        real = socket.socket

        def without(family=socket.AF_INET, *arguments, **more):
            if family == socket.AF_INET6:
                raise OSError(97, "Address family not supported by protocol")
            return real(family, *arguments, **more)

        monkeypatch.setattr(socket, "socket", without)
        assert PROBER.bindable(free_port, "tcp", "127.0.0.1")

    def test_a_port_that_we_may_not_bind(self, free_port, monkeypatch):
        def refuse(*_):
            raise PermissionError(13, "Permission denied")

        with bound("127.0.0.1") as listener:
            listener.listen()
            busy = listener.getsockname()[1]
            # What an unprivileged user meets below 1024.
            monkeypatch.setattr(socket, "socket", type("Refusing", (socket.socket,), {"bind": refuse}))
            assert not PROBER.bindable(busy, "tcp", "127.0.0.1")
            assert PROBER.bindable(free_port, "tcp", "127.0.0.1")

    def test_little_work(self, free_port, monkeypatch):
        """Asked for every port that is tried: a socket for each kind of address, and nobody is connected to."""
        opened, real = [], socket.socket

        class Counted(real):
            def __init__(self, *arguments, **more):
                opened.append(arguments)
                super().__init__(*arguments, **more)

            def connect(self, address):
                raise AssertionError(address)

        monkeypatch.setattr(socket, "socket", Counted)
        assert PROBER.bindable(free_port, "tcp", "127.0.0.1")
        assert len(opened) <= 4


class TestTcp:
    def test_silence_is_ready(self, server):
        assert PROBER.tcp("127.0.0.1", server(lambda connection: connection.recv(1)), 1) is None

    def test_a_greeting_is_ready(self, server):
        assert PROBER.tcp("127.0.0.1", server(lambda connection: connection.sendall(b"220 hi")), 1) is None

    def test_ipv6(self, server):
        assert PROBER.tcp("::1", server(lambda connection: connection.recv(1), "::1"), 1) is None

    def test_closed_at_once_is_not_ready(self, server):
        port = server(lambda _connection: None)
        assert PROBER.tcp("127.0.0.1", port, 1) == f"127.0.0.1:{port} closes connections at once"

    def test_closed_after_a_moment_is_not_ready(self, server):
        assert "closes" in PROBER.tcp("127.0.0.1", server(lambda _connection: time.sleep(0.03)), 1)

    def test_closed_after_a_moment_of_a_busy_machine_is_not_ready(self, server, monkeypatch):
        cores = os.cpu_count() or 1
        monkeypatch.setattr(os, "getloadavg", lambda: (50.0 * cores, 0.0, 0.0))
        assert "closes" in PROBER.tcp("127.0.0.1", server(lambda _connection: time.sleep(0.3)), 1)

    def test_reset_is_not_ready(self, server):
        def reset(connection):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

        assert "reset" in PROBER.tcp("127.0.0.1", server(reset), 1)

    def test_nobody_there(self, free_port):
        assert PROBER.tcp("127.0.0.1", free_port, 1) == f"127.0.0.1:{free_port}: connection refused"
        assert PROBER.tcp("::1", free_port, 1) == f"[::1]:{free_port}: connection refused"

    def test_an_unknown_host(self):
        assert PROBER.tcp("nowhere.invalid", 80, 1).startswith("nowhere.invalid:80: ")

    def test_no_answer_in_time(self):
        # A listener whose queue is full drops what comes.
        with bound("127.0.0.1") as listener:
            listener.listen(0)
            port = listener.getsockname()[1]
            waiting = [socket.socket() for _ in range(4)]
            for client in waiting:
                client.setblocking(False)
                client.connect_ex(("127.0.0.1", port))
            assert PROBER.tcp("127.0.0.1", port, 0.3) == f"127.0.0.1:{port}: no answer in 0.3 s"
            for client in waiting:
                client.close()


class TestHttp:
    @pytest.fixture
    def url(self):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                if self.path == "/slow":
                    time.sleep(0.6)
                status = int(self.path.strip("/").split("?")[0]) if self.path.strip("/")[:1].isdigit() else 200
                self.send_response(status)
                self.send_header("Location", "/500")
                self.end_headers()

            def log_message(self, *_):
                pass

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
            thread = threading.Thread(target=served.serve_forever, args=(0.05,))
            thread.start()
            yield f"http://127.0.0.1:{served.server_port}"
            served.shutdown()
            thread.join()

    @pytest.mark.parametrize("path", ["", "/", "/200", "/204?a=b", "/302", "/399"])
    def test_answered(self, url, path):
        assert PROBER.http(url + path, 2, None) is None

    @pytest.mark.parametrize("path", ["/404", "/500", "/400"])
    def test_answered_otherwise(self, url, path):
        assert PROBER.http(url + path, 2, None) == f"{url}{path} answered {path[1:]}, not 200 to 399"

    def test_one_status(self, url):
        assert PROBER.http(url + "/401", 2, 401) is None
        assert PROBER.http(url + "/200", 2, 401) == f"{url}/200 answered 200, not 401"

    def test_no_answer_in_time(self, url):
        assert PROBER.http(url + "/slow", 0.2, None) == f"{url}/slow: no answer in 0.2 s"

    @pytest.mark.parametrize(
        ("begin", "piece"), [(b"HTTP/1.1 200 OK\r\nX: ", b"y"), (b"", b"HTTP/1.1 100 Continue\r\n\r\n")]
    )
    def test_an_answer_drop_by_drop(self, server, begin, piece):
        def drip(connection):
            with suppress(OSError):
                connection.sendall(begin)
                for _ in range(60):
                    connection.sendall(piece)
                    time.sleep(0.05)
                connection.sendall(b"\r\n\r\n" if begin else b"HTTP/1.1 200 OK\r\n\r\n")

        url = f"http://127.0.0.1:{server(drip)}/"
        assert PROBER.http(url, 0.5, None) == f"{url}: no answer in 0.5 s"

    def test_not_http(self, server):
        port = server(lambda connection: connection.sendall(b"220 smtp\r\n\r\n"))
        assert "invalid answer" in PROBER.http(f"http://127.0.0.1:{port}/", 1, None)

    def test_nobody_there(self, free_port):
        assert PROBER.http(f"http://127.0.0.1:{free_port}/", 1, None).endswith("connection refused")

    @pytest.mark.parametrize(
        "url", ["https://127.0.0.1/", "file:///etc/passwd", "http://", "rubbish", "http://[", "http://a:x/"]
    )
    def test_only_http(self, url):
        assert PROBER.http(url, 1, None)

    def test_headers_cannot_be_smuggled_in(self, server):
        seen = []
        port = server(lambda connection: seen.append(connection.recv(4096)))
        assert PROBER.http(f"http://127.0.0.1:{port}/a b\r\nX: y", 1, None)
        assert not any(b"X: y" in request for request in seen)


class TestHolder:
    @pytest.mark.parametrize("address", ADDRESSES)
    def test_the_process_that_listens(self, address):
        with bound(address) as listener:
            listener.listen()
            name = Path("/proc/self/comm").read_text().strip()
            assert PROBER.holder_of(listener.getsockname()[1], "tcp") == f"{name} (pid {os.getpid()})"

    def test_datagrams(self):
        with bound("127.0.0.1", socket.SOCK_DGRAM) as receiver:
            assert f"(pid {os.getpid()})" in PROBER.holder_of(receiver.getsockname()[1], "udp")

    def test_another_process(self):
        program = (
            "import socket; s=socket.create_server(('127.0.0.1',0)); print(s.getsockname()[1], flush=True); input()"
        )
        command = [sys.executable, "-c", program]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as process:
            port = int(process.stdout.readline())
            assert PROBER.holder_of(port, "tcp").endswith(f"(pid {process.pid})")
            process.communicate("\n")

    def test_nobody(self, free_port):
        assert PROBER.holder_of(free_port, "tcp") is None
        assert PROBER.holder_of(free_port, "sctp") is None
