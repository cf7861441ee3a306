"""Probes services once for readiness."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial

from moorage.errors import EngineError
from moorage.interfaces import World
from moorage.model.definition import Service
from moorage.model.state import Container, Observed
from moorage.rules import attachments, drift, endings, graph, readiness
from moorage.rules.known_images import NOT_THERE
from moorage.rules.readiness import Probe, Way
from moorage.work.queries import log_search
from moorage.work.threads import in_thread, in_thread_with_timeout

_LEAST_S = 0.1
_ENDING_S = 15.0
"""How much longer a command in a container gets that is being ended there: a process that exits meanwhile leaves it."""
_LOOK_S = 5.0
"""How long a look may take at something that should be ready already."""


@dataclass(frozen=True)
class Answer:
    """What a look came to."""

    wrong: str | None
    """None: it is ready."""
    health_failed: bool = False
    """True: it was the health check that failed, or did not answer in its time."""
    cut_short: bool = False
    """True: the look had to end before the check did."""


async def asked(world: World, container: Container, probe: Probe, waited_s: float, left_s: float) -> Answer:
    """Look once, at all that has to hold. `left_s`: how long that may take at most."""
    began = world.clock.monotonic()
    for part in probe.parts:
        timeout_s = max(_LEAST_S, min(part.timeout_s, left_s - (world.clock.monotonic() - began)))
        limit_s = timeout_s + (_ENDING_S if part.way == Way.EXEC else 0.0)
        try:
            wrong = await in_thread_with_timeout(partial(ask, world, container, part, waited_s, timeout_s), limit_s)
        except (TimeoutError, EngineError) as error:
            # Another error: the container ended between the look and the question, and the next look says so.
            if isinstance(error, EngineError) and not error.fields.get("timed_out"):
                return Answer(str(error))
            cut_short = timeout_s < part.timeout_s
            words = f"{part.source}: no answer within {timeout_s:g} s"
            return Answer(words, health_failed=not cut_short and part.health is not None, cut_short=cut_short)
        if wrong is not None:
            return Answer(wrong, health_failed=part.health is not None)
    return Answer(None)


def ask(world: World, container: Container, probe: Probe, waited_s: float, timeout_s: float) -> str | None:
    """Ask once, one check alone, which ends after `timeout_s`. None: ready. Else what was wrong."""
    match probe.way:
        case Way.EXEC:
            code, output = world.engine.exec(container.id, probe.command, timeout_s=timeout_s)
            if probe.instead and code in NOT_THERE:
                return ask(world, container, probe.instead, waited_s, timeout_s)
            return None if code == 0 else f"{probe.source}: exit code {code}: {output}".rstrip(": ")
        case Way.TCP | Way.HTTP:
            return _ask_network(world, container, probe)
        case Way.LOG:
            pattern = probe.ready.pattern if probe.ready else ""
            found = log_search.found(world, container, pattern, timeout_s)
            return None if found else f"no log line matches {pattern!r}"
        case Way.STAY:
            up_s = (world.clock.now() - container.started_at).total_seconds() if container.started_at else waited_s
            return None if up_s >= world.settings.settle_s else "has only just started"
        case Way.EXIT:
            return "has not ended yet"


def _ask_network(world: World, container: Container, probe: Probe) -> str | None:
    """Ask the addresses that the check is about: None when all answer, or one of those that nobody has named."""
    places = _places(container, probe)
    if not places:
        return f"{probe.source}: the service has no TCP port to connect to"
    silent = []
    for host, port in places:
        answer = _ask_place(world, probe, host, port)
        if answer is None and probe.source == readiness.PORTS:
            return None
        if answer:
            silent.append(answer)
    return f"{probe.source}: {'; '.join(dict.fromkeys(silent))}" if silent else None


def _ask_place(world: World, probe: Probe, host: str, port: int) -> str | None:
    check, timeout_s = probe.ready, min(probe.timeout_s, 5.0)
    if probe.way == Way.HTTP and check:
        path = check.path if check.path.startswith("/") else f"/{check.path}"
        return world.prober.http(f"http://{host}:{port}{path}", timeout_s, check.status)
    return world.prober.tcp(host, port, timeout_s)


def silent_ports(world: World, container: Container, probe: Probe) -> tuple[int, ...]:
    """The container ports of a service that is ready at which nobody answers, where one that does is enough."""
    probe = probe.instead or probe
    if probe.source != readiness.PORTS:
        return ()
    bound = [port for port in container.ports if port.protocol == "tcp"]
    if len({port.target for port in bound}) < 2:
        return ()
    heard = {p.target for p in bound if _ask_place(world, probe, _reachable(p.host_ip), p.published) is None}
    return tuple(sorted({port.target for port in bound} - heard))


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


async def is_ready(
    world: World, services: dict[str, Service], name: str, observed: Observed, *, to_start: bool = False
) -> bool:
    """One look at a service that should be ready already: a word of the engine or of the last run is believed first.

    `to_start`: what is not ready will be started, so an end that no run has seen may have been a stop.
    """
    containers, stack = observed.of(name), observed.stack
    if any(attachments.left_behind(services, one, observed) for one in containers):
        return False
    looks = (_is_ready(world, services, stack, container, to_start=to_start) for container in containers)
    return all(await asyncio.gather(*looks))


async def _is_ready(
    world: World, services: dict[str, Service], stack: str, container: Container, *, to_start: bool
) -> bool:
    settings, name = world.settings, container.service
    probe = readiness.probe_of(services, name, container, settings.ready_timeout_s, settings.settle_s)
    verdict = readiness.judge(services, container, probe, world.clock.now())
    if verdict.ended_well:
        return await in_thread(partial(is_over, world, services, stack, container, to_start=to_start))
    if verdict.failed or container.state != "running":
        return False
    if container.health == "starting" and await in_thread(lambda: _found_ready(world, stack, container)):
        return True
    if container.health == "healthy":
        if probe.also is None:
            return True
        probe = probe.also
    if probe.way == Way.LOG:  # the line may have been rotated away since
        return True
    return (await asked(world, container, probe, 0.0, _LOOK_S)).wrong is None


def is_over(
    world: World, services: dict[str, Service], stack: str, container: Container, *, to_start: bool = False
) -> bool:
    """True if nothing is missing of a container that has ended with a good exit code, as it may.

    A one-shot, and what ended in a run that it began in, have done their work. What ended later may have been stopped:
    it is missing if others talk to it, if `stop` did it, or (`to_start`) for who brings the stack up again.
    """
    name = container.service
    if graph.is_one_shot(services, name):
        return True
    runs = world.store.run_heads(stack)
    if endings.ended_in_a_run(container.started_at, container.finished_at, runs):
        return True
    return not to_start and not endings.serves(services[name], container) and name not in drift.resting(runs, services)


def _found_ready(world: World, stack: str, container: Container) -> bool:
    last = next(iter(world.store.runs(stack, 1)), None)
    return readiness.found_ready(container, last, world.clock.now())
