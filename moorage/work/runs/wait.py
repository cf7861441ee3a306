"""Waits until a service is ready, by probing it instead of waiting for the interval of its health check."""

from __future__ import annotations

import asyncio
from datetime import datetime
from functools import partial

from moorage.errors import MoorageError, NotReadyError
from moorage.interfaces import World
from moorage.model.definition import RestartPolicy, Service
from moorage.model.state import Container
from moorage.rules import readiness
from moorage.rules.readiness import Probe, Streak
from moorage.work.queries.last_lines import last_lines
from moorage.work.queries.readiness import asked, silent_ports
from moorage.work.threads import in_thread, in_thread_with_timeout

LOG_LINES = 50
IN_THE_REPORT = "Its last log lines are in the failure report."
_KILLED = 128 + 9
_MEMORY_LOOKS, _MEMORY_PAUSE_S = 50, 0.1
"""On a busy machine the engine has heard of it seconds after the end."""
_SILENCE_S = 3.0
_LEAST_PAUSE_S = 0.001
"""What is left until the deadline may be less than any clock can tell."""


class Wait:
    """The wait for one container: how long it has been, and what the last look said.

    Deadlines count from the container's last start, by our clock: one that its restart policy starts again begins
    anew. `limit_s` counts from the beginning, however often it is started. None: as the check says.
    """

    def __init__(self, world: World, services: dict[str, Service], name: str, limit_s: float | None) -> None:
        self.world = world
        self.services = services
        self.service = services[name]
        self.limit_s = limit_s
        self.began = world.clock.monotonic()
        self.life_began = self.began
        self.started_at: datetime | None = None
        """The container's start as it was last seen. None: it has never run."""
        self.streak = Streak()
        self.health_failed = False
        """True: at the last look, it was the health check that failed."""
        self.last_words = ""
        self.last_exit: int | None = None
        """Exit code of the last end that was seen: one that is restarted over and over shows it only at times."""
        self.silent: tuple[int, ...] = ()
        """Published ports of a container that is ready at which nobody answers."""
        self.ended = False
        """True: it has ended, as it may."""

    @property
    def waited_s(self) -> float:
        """Seconds since the wait began."""
        return self.world.clock.monotonic() - self.began

    @property
    def life_s(self) -> float:
        """Seconds since the container's last start, or since the wait began."""
        return self.world.clock.monotonic() - self.life_began

    async def until_ready(self, container: Container) -> None:
        """Return when the container is ready. Raises NotReadyError with the reason at once when it will not be."""
        settings = self.world.settings
        probe = readiness.probe_of(
            self.services, self.service.name, container, settings.ready_timeout_s, settings.settle_s
        )
        pauses, started_at = readiness.pauses(probe), self.started_at
        while not await self._look(container.id, probe):
            if self.started_at != started_at:
                pauses, started_at = readiness.pauses(probe), self.started_at
            await asyncio.sleep(max(_LEAST_PAUSE_S, min(next(pauses), self._left_s(probe))))

    def _left_s(self, probe: Probe) -> float:
        """Seconds until the deadline."""
        return probe.deadline_s - self.life_s if self.limit_s is None else self.limit_s - self.waited_s

    async def _look(self, container_id: str, probe: Probe) -> bool:
        container = await in_thread(lambda: self.world.engine.inspect(container_id))
        self._notice_start(container)
        verdict = readiness.judge(self.services, container, probe, self.world.clock.now())
        if verdict.failed or container is None:
            raise await self._failure(container_id, verdict.failed, container)
        if verdict.ended_well:
            self.ended = True
            return True
        if container.state == "running" and await self._ask(container, probe):
            return True
        if probe.health and self.streak.failures >= probe.health.retries:
            raise await self._failure(container_id, "unhealthy", container)
        if self._left_s(probe) <= 0:
            raise await self._failure(container_id, "unhealthy" if self._is_unhealthy(probe) else "timeout", container)
        return False

    def _is_unhealthy(self, probe: Probe) -> bool:
        """True: it was the health check that failed, for as long as the engine gives it at most."""
        given_s = 0.0 if self.limit_s is not None else probe.deadline_s
        return probe.health is not None and self.health_failed and given_s >= probe.health.deadline_s

    def _notice_start(self, container: Container | None) -> None:
        """A new life begins anew, whatever the one before it has come to."""
        if container and container.exit_code is not None:
            self.last_exit = container.exit_code
        if container and container.started_at != self.started_at:
            if self.started_at is not None:
                self.life_began, self.streak = self.world.clock.monotonic(), Streak()
            self.started_at = container.started_at

    async def _ask(self, container: Container, probe: Probe) -> bool:
        """One look by the probe. True: ready."""
        began_s = self.life_s
        answer = await asked(self.world, container, probe, self.waited_s, self._left_s(probe))
        if answer.wrong is None:
            self.silent = await self._silent(container, probe)
            return True
        self.health_failed = answer.health_failed or (answer.cut_short and self.health_failed)
        if answer.health_failed and probe.health:
            self.streak = self.streak.after_failure(probe.health, began_s, self.life_s)
        if not (answer.cut_short and self.last_words):  # then the look before says more
            self.last_words = answer.wrong
        return False

    async def _silent(self, container: Container, probe: Probe) -> tuple[int, ...]:
        try:
            return await in_thread_with_timeout(partial(silent_ports, self.world, container, probe), _SILENCE_S)
        except Exception:  # noqa: BLE001 - it is ready, and this is only for information
            return ()

    async def _failure(self, container_id: str, reason: str, container: Container | None) -> NotReadyError:
        log = await in_thread(lambda: last_lines(self.world, container_id, LOG_LINES))
        if container and container.exit_code is None and reason in ("exited", "oom"):
            container = container.model_copy(update={"exit_code": self.last_exit})
        if reason == "exited" and container and await had_no_memory(self.world, container):
            reason = "oom"
        return not_ready(self.service.name, reason, container, self.last_words, log, self.waited_s)


async def had_no_memory(world: World, container: Container) -> bool:
    """True: it was killed because it ran out of memory; the engine may hear of that a moment after the end."""
    if container.exit_code != _KILLED:
        return False
    for _ in range(_MEMORY_LOOKS):
        try:
            now = await in_thread(lambda: world.engine.inspect(container.id))
        except MoorageError:  # that it was killed is told anyway
            return False
        if now is None or now.oom_killed:
            return now is not None
        await asyncio.sleep(_MEMORY_PAUSE_S)
    return False


_REASONS = {
    "exited": "ended with exit code {code}",
    "oom": "ran out of memory and was killed (exit code {code})",
    "unhealthy": "it is unhealthy: its health check failed too often",
    "timeout": "not ready after {waited:.1f} s",
    "removed": "its container was removed by someone else",
    "not started": "its container was made again by someone else, and never started",
    "not running": "its container is {state}",
}


def not_ready(
    service: str, reason: str, container: Container | None, probe: str, log: str, waited_s: float
) -> NotReadyError:
    """The error of a service that will not become ready, with all that helps to see why."""
    code = container.exit_code if container else None
    words = _REASONS[reason].format(code=code, waited=waited_s, state=container.state if container else "gone")
    return NotReadyError(
        f"services.{service}: {words}" + (f"; last probe: {probe}" if probe else ""),
        hint=_advice(reason, container, probe),
        service=service,
        reason=reason,
        exit_code_of_service=code,
        probe=probe or None,
        log=log or None,
        waited_s=round(waited_s, 3),
    )


def _advice(reason: str, container: Container | None, probe: str) -> str:
    code = container.exit_code if container else None
    if reason == "exited" and code == 0 and container:
        if container.restart_policy in (RestartPolicy.ALWAYS, RestartPolicy.UNLESS_STOPPED):
            return f"`restart: {container.restart_policy}` starts it again after each end; on-failure lets it end."
        return "Something waits for more than its end: if it may end, add `x-moorage: {ready: {exit: 0}}`."
    if reason == "exited" and code == _KILLED:
        return "Exit code 137 means killed: does it need more memory (`mem_limit`)? Its log is in the failure report."
    if reason == "timeout" and probe.startswith(readiness.PORTS):
        return "None of its published TCP ports answers. Say when it is ready: `x-moorage: {ready: {log: TEXT}}`."
    return IN_THE_REPORT
