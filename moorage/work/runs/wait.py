"""Waits until a service is ready, by probing it instead of waiting for the interval of its health check."""

from __future__ import annotations

import asyncio

from moorage.errors import EngineError, NotReadyError
from moorage.interfaces import World
from moorage.model.definition import Service
from moorage.model.state import Container
from moorage.rules import readiness
from moorage.rules.readiness import Probe
from moorage.work.queries.readiness import ask
from moorage.work.threads import in_thread, in_thread_with_timeout

LOG_LINES = 50
_KILLED = 128 + 9
_MEMORY_LOOKS, _MEMORY_PAUSE_S = 50, 0.1
"""On a busy machine the engine has heard of it seconds after the end."""
_LEAST_PAUSE_S = 0.001
"""What is left until the deadline may be less than any clock can tell."""


class Wait:
    """The wait for one container: how long it has been, and what the last look said."""

    def __init__(self, world: World, services: dict[str, Service], name: str, limit_s: float | None) -> None:
        self.world = world
        self.services = services
        self.service = services[name]
        self.limit_s = limit_s
        self.began = world.clock.monotonic()
        self.last_words = ""
        self.last_exit: int | None = None
        """Exit code of the last end that was seen: one that is restarted over and over shows it only at times."""

    @property
    def waited_s(self) -> float:
        """Seconds since the wait began."""
        return self.world.clock.monotonic() - self.began

    async def until_ready(self, container: Container) -> None:
        """Return when the container is ready. Raises NotReadyError with the reason at once when it will not be."""
        settings = self.world.settings
        probe = readiness.probe_of(
            self.services, self.service.name, container, settings.ready_timeout_s, settings.settle_s
        )
        deadline_s = self.limit_s or probe.deadline_s
        for pause_s in readiness.pauses(probe):
            if await self._look(container.id, probe, deadline_s):
                return
            await asyncio.sleep(max(_LEAST_PAUSE_S, min(pause_s, deadline_s - self.waited_s)))

    async def _look(self, container_id: str, probe: Probe, deadline_s: float) -> bool:
        container = await in_thread(lambda: self.world.engine.inspect(container_id))
        if container and container.exit_code is not None:
            self.last_exit = container.exit_code
        verdict = readiness.judge(self.service, container, probe, self.world.clock.now())
        if verdict.failed or container is None:
            raise await self._failure(container_id, verdict.failed, container)
        if verdict.ended_well:
            return True
        if container.state == "running" and await self._ask(container, probe, deadline_s):
            return True
        if self.waited_s >= deadline_s:
            raise await self._failure(container_id, "timeout", container)
        return False

    async def _ask(self, container: Container, probe: Probe, deadline_s: float) -> bool:
        """One look by the probe. True: ready."""
        timeout_s = max(0.1, min(probe.timeout_s, deadline_s - self.waited_s))
        try:
            answer = await in_thread_with_timeout(lambda: ask(self.world, container, probe, self.waited_s), timeout_s)
        except TimeoutError:
            answer = f"{probe.source}: no answer within {timeout_s:g} s"
            if self.last_words and timeout_s < probe.timeout_s:
                answer = self.last_words  # this look was cut short by the deadline: the one before says more
        except EngineError as error:  # the container ended between the look and the question: the next look says so
            answer = str(error)
        self.last_words = answer or self.last_words
        return answer is None

    async def _failure(self, container_id: str, reason: str, container: Container | None) -> NotReadyError:
        log = await in_thread(lambda: self.world.engine.logs(container_id, LOG_LINES))
        if container and container.exit_code is None and reason in ("exited", "oom"):
            container = container.model_copy(update={"exit_code": self.last_exit})
        if reason == "exited" and container and container.exit_code == _KILLED and await self._had_no_memory(container):
            reason = "oom"
        return not_ready(self.service.name, reason, container, self.last_words, log, self.waited_s)

    async def _had_no_memory(self, container: Container) -> bool:
        """True: it ran out of memory; the engine may hear of that a moment after the end."""
        for _ in range(_MEMORY_LOOKS):
            now = await in_thread(lambda: self.world.engine.inspect(container.id))
            if now is None or now.oom_killed:
                return now is not None
            await asyncio.sleep(_MEMORY_PAUSE_S)
        return False


_REASONS = {
    "exited": "ended with exit code {code}",
    "oom": "ran out of memory and was killed (exit code {code})",
    "unhealthy": "the engine calls it unhealthy",
    "timeout": "not ready after {waited:.1f} s",
    "removed": "its container was removed by someone else",
    "not started": "its container was made again by someone else, and never started",
}


def not_ready(
    service: str, reason: str, container: Container | None, probe: str, log: str, waited_s: float
) -> NotReadyError:
    """The error of a service that will not become ready, with all that helps to see why."""
    code = container.exit_code if container else None
    words = _REASONS[reason].format(code=code, waited=waited_s)
    hint = "Its last log lines are in the failure report."
    if reason == "exited" and code == 0:
        hint = "The definition does not make it a one-shot: if it may end, add `x-moorage: {ready: {exit: 0}}`."
    elif reason == "exited" and code == _KILLED:
        hint = "Exit code 137 means killed: does it need more memory (`mem_limit`)? Its log is in the failure report."
    elif reason == "timeout" and probe.startswith(readiness.PORTS):
        hint = "Every published TCP port must answer. If not all do, name one: `x-moorage: {ready: {tcp: PORT}}`."
    return NotReadyError(
        f"services.{service}: {words}" + (f"; last probe: {probe}" if probe else ""),
        hint=hint,
        service=service,
        reason=reason,
        exit_code_of_service=code,
        probe=probe or None,
        log=log or None,
        waited_s=round(waited_s, 3),
    )
