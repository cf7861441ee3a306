"""Probes services once for readiness."""

from __future__ import annotations

import asyncio
import re

from moorage.errors import EngineError
from moorage.interfaces import World
from moorage.model.definition import Service
from moorage.model.log import LogSpan
from moorage.model.state import Container, Observed
from moorage.rules import readiness
from moorage.rules.readiness import Probe, Way
from moorage.work.threads import in_thread, in_thread_with_timeout


def ask(world: World, container: Container, probe: Probe, waited_s: float) -> str | None:
    """Ask once. None: ready. Else what was wrong."""
    match probe.way:
        case Way.EXEC:
            code, output = world.engine.exec(container.id, probe.command)
            return None if code == 0 else f"{probe.source}: exit code {code}: {output}".rstrip(": ")
        case Way.TCP | Way.HTTP:
            return _ask_network(world, container, probe)
        case Way.LOG:
            pattern = probe.ready.pattern if probe.ready else ""
            found = re.search(pattern, _written(world, container), re.MULTILINE)
            return None if found else f"no log line matches {pattern!r}"
        case Way.STAY:
            up_s = (world.clock.now() - container.started_at).total_seconds() if container.started_at else waited_s
            return None if up_s >= world.settings.settle_s else "has only just started"
        case Way.EXIT:
            return "has not ended yet"


def _written(world: World, container: Container) -> str:
    """What it wrote since its last end: what an earlier start wrote says nothing of this one."""
    since_ns = int(container.finished_at.timestamp() * 1e6) * 1000 if container.finished_at else None
    records = world.streams.log(container.id, LogSpan(since_ns=since_ns), on_open=lambda _close: None)
    return b"".join(record.data for record in records).decode(errors="replace")


def _ask_network(world: World, container: Container, probe: Probe) -> str | None:
    """Ask each address that the check is about; None when all answer."""
    places = _places(container, probe)
    if not places:
        return f"{probe.source}: the service has no TCP port to connect to"
    check, timeout_s = probe.ready, min(probe.timeout_s, 5.0)
    for host, port in places:
        if probe.way == Way.HTTP and check:
            path = check.path if check.path.startswith("/") else f"/{check.path}"
            answer = world.prober.http(f"http://{host}:{port}{path}", timeout_s, check.status)
        else:
            answer = world.prober.tcp(host, port, timeout_s)
        if answer:
            return f"{probe.source}: {answer}"
    return None


def _places(container: Container, probe: Probe) -> list[tuple[str, int]]:
    """Where to ask: published ports, else the container's own address."""
    wanted = probe.ready.port if probe.ready else None
    published = [p for p in container.ports if p.protocol == "tcp" and wanted in (None, p.target)]
    if published:
        chosen = published[:1] if probe.way == Way.HTTP else published
        return [(_reachable(p.host_ip), p.published) for p in chosen]
    return [(address, wanted) for address in container.addresses[:1]] if wanted else []


def _reachable(host_ip: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(host_ip, host_ip)  # noqa: S104 - looked up, not bound


async def is_ready(world: World, services: dict[str, Service], name: str, observed: Observed) -> bool:
    """One look at a service that should be ready already: a word of the engine or of the last run is believed first."""
    containers = observed.of(name)
    answers = await asyncio.gather(*(_is_ready(world, services, observed.stack, container) for container in containers))
    return all(answers)


async def _is_ready(world: World, services: dict[str, Service], stack: str, container: Container) -> bool:
    settings, name = world.settings, container.service
    probe = readiness.probe_of(services, name, container, settings.ready_timeout_s, settings.settle_s)
    verdict = readiness.judge(services[name], container, probe, world.clock.now())
    if verdict.ended_well or verdict.failed:
        return verdict.ended_well
    if container.state != "running":
        return False
    if container.health == "healthy" or probe.way == Way.LOG:
        return True
    if container.health == "starting" and await in_thread(lambda: _found_ready(world, stack, container)):
        return True
    try:
        return (
            await in_thread_with_timeout(lambda: ask(world, container, probe, 0.0), min(probe.timeout_s, 5.0)) is None
        )
    except (EngineError, TimeoutError):
        return False


def _found_ready(world: World, stack: str, container: Container) -> bool:
    last = next(iter(world.store.runs(stack, 1)), None)
    return readiness.found_ready(container, last, world.clock.now())
