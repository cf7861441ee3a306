"""The registry in figures: leases in one process, with many held, in many processes; the plan of a large definition."""

from __future__ import annotations

import json
import multiprocessing
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from moorage.adapters.compose.cli import ComposeCli
from moorage.adapters.registry.store import SqliteStore
from moorage.model.definition import Source
from moorage.model.lease import Lease, LeaseKey, Request
from moorage.settings import Settings
from moorage.work.definitions.request import UpRequest
from moorage.work.definitions.resolve import desire, resolve
from moorage.work.queries.plan import preview_leases
from moorage.world import open_world

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]
Figures = Callable[..., None]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
PROCESSES, EACH = 16, 40
SERVICES = 1000
ROUNDS = 5


def store_at(path: Path) -> SqliteStore:
    return SqliteStore(path, any_port=range(20000, 65000))


def lease(store: SqliteStore, stack: str, count: int) -> tuple[Lease, ...]:
    """One call for so many ports, as a stack with so many services makes it."""
    requests = [Request(key=LeaseKey(stack=stack, service=f"s{n}", target=80)) for n in range(count)]
    return store.lease(requests, run=None, taken=frozenset(), bindable=lambda *_: True, now=NOW)


def test_leases_in_one_process(tmp_path: Path, figure: Figures) -> None:
    store = store_at(tmp_path / "hub.db")
    lease(store, "first", 1)
    began = time.perf_counter()
    for number in range(50):
        lease(store, f"stack-{number}", 100)
    rate = 5000 / (time.perf_counter() - began)
    store.close()
    figure("leases in one process", rate, 2000, "a second", "50 calls for 100 ports each", at_least=True, order=20)


def held(tmp_path: Path, number: int) -> SqliteStore:
    store = store_at(tmp_path / f"{number}.db")
    leases = [
        Lease(key=LeaseKey(stack=f"old-{n // 100}", service=f"s{n % 100}", target=80), port=20000 + n, since=NOW)
        for n in range(number)
    ]
    assert len(store.restore(leases)) == number
    return store


def test_cost_with_many_held(tmp_path: Path, figure: Figures) -> None:
    stores = {number: held(tmp_path, number) for number in (0, 1000, 20_000)}
    times: dict[int, list[float]] = {number: [] for number in stores}
    for turn in range(30):
        for number, store in stores.items():
            began = time.perf_counter()
            lease(store, f"new-{turn}", 4)
            times[number].append(time.perf_counter() - began)
    medians = {number: 1000 * statistics.median(found) for number, found in times.items()}
    how = "a call for 4 ports: " + ", ".join(f"{ms:.1f} ms with {number:,}" for number, ms in medians.items())
    figure("lease with 20,000 held", medians[20_000] / medians[0], 1.5, "× that with none", how, order=21)


def _some(path: Path, number: int, answer: multiprocessing.Queue[list[int]]) -> None:
    store = store_at(path)
    answer.put([one.port for turn in range(EACH) for one in lease(store, f"p{number}-{turn}", 4)])
    store.close()


def test_many_processes_and_no_double(tmp_path: Path, figure: Figures) -> None:
    path, spawn = tmp_path / "hub.db", multiprocessing.get_context("spawn")
    lease(store_at(path), "first", 1)
    answers: multiprocessing.Queue[list[int]] = spawn.Queue()
    processes = [spawn.Process(target=_some, args=(path, number, answers)) for number in range(PROCESSES)]
    for process in processes:
        process.start()
    ports = [port for _ in processes for port in answers.get(timeout=600)]
    for process in processes:
        process.join()
    doubles = len(ports) - len(set(ports))
    figure("ports leased twice by 16 processes", doubles, 0, "", f"{len(ports):,} leases", order=22)
    assert len(ports) == PROCESSES * EACH * 4


def test_plan_of_a_large_definition(tmp_path: Path, tiny_image: str, figure: Figures) -> None:
    one = {"image": tiny_image, "command": ["sleep", "infinity"]}
    services = {f"s{n}": {**one, "ports": [f"{9000 + n}:80"]} for n in range(SERVICES)}
    (tmp_path / "compose.yaml").write_text(json.dumps({"name": "large", "services": services}))
    settings = Settings(home=tmp_path / "home")
    source, world = Source(directory=tmp_path), open_world(settings=settings)
    times: dict[str, list[float]] = {"config": [], "plan": []}
    for _ in range(ROUNDS):
        compose = ComposeCli(settings)
        began = time.perf_counter()
        compose.config(source, "large", {})
        times["config"].append(time.perf_counter() - began)
        began = time.perf_counter()
        resolved = resolve(world, UpRequest(source=source))
        desire(world, resolved, preview_leases(world, resolved))
        times["plan"].append(time.perf_counter() - began)
    config_s, plan_s = (statistics.median(times[key]) for key in ("config", "plan"))
    how = f"{plan_s:.2f} s, of which Compose's own config {config_s:.2f} s; medians of {ROUNDS}"
    figure("plan of 1,000 services beyond Compose's config", plan_s - config_s, 0.5, "s", how, order=23)
