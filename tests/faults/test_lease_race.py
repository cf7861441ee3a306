"""Many processes lease at once, and other programs sit on the wanted ports: real processes, real sockets."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import textwrap
import time
from datetime import UTC, datetime

import pytest

from moorage.adapters.probes import SocketProber
from moorage.adapters.registry.store import SqliteStore
from moorage.errors import PortError
from moorage.model.lease import LeaseKey, Request

PROCESSES, LEASES = 16, 50
LEASER = """
    import json, sys
    from datetime import UTC, datetime
    from pathlib import Path
    from moorage.adapters.probes import SocketProber
    from moorage.adapters.registry.store import SqliteStore
    from moorage.model.lease import LeaseKey, Request

    path, stack, leases = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    print("ready", flush=True)
    sys.stdin.readline()
    store, ports = SqliteStore(path), []
    for number in range(leases):
        key = LeaseKey(stack=stack, service=f"service{number}", target=80)
        [lease] = store.lease(
            [Request(key=key, wanted=18000)],
            run=None, taken=frozenset(), bindable=SocketProber().bindable, now=datetime.now(UTC),
        )
        ports.append(lease.port)
    store.close()
    print(json.dumps(ports))
"""
LISTENER = """
    import socket, sys
    address, port = sys.argv[1], int(sys.argv[2])
    listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    if ":" in address:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, sys.argv[3] == "only")
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen()
    print(listener.getsockname()[1], flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def program():
    """Starts a Python program of its own; ended after the test."""
    started = []

    def start(code, *arguments):
        command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def store(tmp_path):
    opened = SqliteStore(tmp_path / "home" / "hub.db")
    yield opened
    opened.close()


def lease(store, wanted, **more):
    key = LeaseKey(stack="shop", service="web", target=80)
    asked = [Request(key=key, wanted=wanted, **more)]
    [got] = store.lease(asked, run=None, taken=frozenset(), bindable=SocketProber().bindable, now=datetime.now(UTC))
    return got.port


@pytest.mark.parametrize("file", ["new", pytest.param("there", marks=pytest.mark.exhaustive)])
def test_many_processes_get_distinct_ports(program, store, tmp_path, file):
    path = tmp_path / "home" / "hub.db"
    if file == "there":
        store.leases()
    processes = [program(LEASER, path, f"stack{number}", LEASES) for number in range(PROCESSES)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    ports = [port for process in processes for port in json.loads(process.communicate(timeout=200)[0])]
    assert len(set(ports)) == len(ports) == PROCESSES * LEASES
    assert [held.port for held in store.leases()] == sorted(ports)
    assert store.set_aside is None


@pytest.mark.parametrize(
    ("address", "only"),
    [("127.0.0.1", "-"), ("0.0.0.0", "-"), ("::1", "only"), ("::", "only"), ("::", "both")],
    ids=["loopback", "all of IPv4", "loopback of IPv6", "all of IPv6", "all of both"],
)
def test_a_port_of_another_program_is_passed_over(program, store, address, only):
    listener = program(LISTENER, address, 0, only)
    wanted = int(listener.stdout.readline())
    assert lease(store, wanted) > wanted


def test_a_fixed_port_of_another_program_names_it(program, store):
    listener = program(LISTENER, "127.0.0.1", 0, "-")
    wanted = int(listener.stdout.readline())
    with pytest.raises(PortError, match=rf"port {wanted}/tcp is held by \S+ \(pid {listener.pid}\)") as caught:
        lease(store, wanted, fixed=True)
    assert caught.value.fields["holder"].endswith(f"(pid {listener.pid})")
    assert store.leases() == ()


def test_an_ended_programs_port_can_be_had_at_once(program, store):
    listener = program(LISTENER, "127.0.0.1", 0, "-")
    wanted = int(listener.stdout.readline())
    with socket.create_connection(("127.0.0.1", wanted)):
        listener.communicate("\n")
    assert lease(store, wanted) == wanted


def test_a_killed_writer_leaves_nothing_half_done(program, store, tmp_path):
    path = tmp_path / "home" / "hub.db"
    store.leases()
    for round_ in range(5):
        process = program(LEASER, path, f"stack{round_}", 10_000)
        assert process.stdout.readline() == "ready\n"
        process.stdin.write("go\n")
        process.stdin.flush()
        time.sleep(0.2)
        process.kill()
        process.wait()
        lease(store, 17000)  # a lock that the dead one still had would end this with an error
    ports = [held.port for held in store.leases()]
    assert len(set(ports)) == len(ports) > 5
    assert store.set_aside is None
