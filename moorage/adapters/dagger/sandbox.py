"""Throw-away services in Dagger: one session, services bound to each other, tunnels on loopback ports."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from typing import Any

from moorage.adapters.dagger import loopback
from moorage.adapters.dagger.builder import request_of
from moorage.adapters.dagger.child import DaggerChild, DaggerFailedError
from moorage.adapters.dagger.preflight import DaggerLook
from moorage.errors import NotReadyError, PortTakenError, RunError
from moorage.interfaces import Engine
from moorage.model.image import Availability, BuilderName, BuildSpec, RegistryLogin
from moorage.model.sandbox import SandboxHealth, SandboxService
from moorage.rules import building
from moorage.settings import Settings

_KILL_S = 20.0
_TAKEN = "Another program has taken it since: try again."
_UNHEALTHY = "health check errored: "
_UNANSWERED = "health check errored: checking for port "
_ENDED = "service exited before healthcheck"
_ITS_OUTPUT = "The lines above are its output."
_LOGGED = "The lines above are the last ones that Dagger logged."
_NO_TIME = "its port did not accept connections, or its health check did not succeed"


class DaggerSandbox:
    """Throw-away services in Dagger. `is_secret`: whether a variable of this name must not appear in logs."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        is_secret: Callable[[str], bool],
        logins: tuple[RegistryLogin, ...] = (),
    ) -> None:
        self._settings = settings
        self._look = DaggerLook(settings, engine)
        self._is_secret = is_secret
        self._logins = logins
        self._child: DaggerChild | None = None
        self._own_network = False

    def preflight(self, *, expose: bool) -> Availability:
        """Whether SDK, CLI and engine are there, and tunnels can be kept to this machine; nothing is started."""
        found = self._look.preflight()
        if expose or not found.usable or not (why := loopback.why_not(self._look.environment())):
            return found
        reason = f"{loopback.OPEN}, and they cannot be kept to its loopback address: {why}"
        return found.model_copy(update={"usable": False, "reason": reason, "hint": loopback.HINT})

    def open(self, *, expose: bool) -> None:
        """Open the session, unless `expose` in a network of its own. Raises BackendUnavailableError."""
        self._own_network = not expose
        limit_s = self._settings.dagger_connect_timeout_s
        child = DaggerChild(self._look.environment(), limit_s, logins=self._logins, own_network=not expose)
        child.__enter__()
        self._child = child

    def start(
        self,
        service: SandboxService,
        build: BuildSpec | None,
        bound: dict[str, str],
        tunnels: Sequence[tuple[int, int]],
        ready_s: float,
    ) -> None:
        """Start a service, wait until it is ready, and open its tunnels.

        Raises RunError, NotReadyError with its output.
        """
        request = self._request(service, build, bound)
        wanted = [{"backend": inside, "frontend": here} for inside, here in tunnels]
        with ExitStack() as held:
            listeners = self._listeners([here for _, here in tunnels], service.name, held)
            self._ask({**request, "do": "prepare"}, service.name)
            if self._child is None:
                raise _failed(service.name, DaggerFailedError({"message": "there is no session"}))
            try:
                self._child.ask({**request, "do": "start", "tunnels": wanted}, ready_s, listeners)
            except TimeoutError:
                late = DaggerFailedError({"message": _NO_TIME, "log": self.log(service.name) or self.log()})
                raise _not_ready(service.name, late, ready_s) from None
            except DaggerFailedError as error:
                raise _not_ready(service.name, error, ready_s, request["secret_environment"]) from None

    def _listeners(self, ports: Sequence[int], service: str, held: ExitStack) -> list[socket.socket]:
        """Listeners at this machine's loopback address, for a session that has none. Raises PortTakenError."""
        found = []
        for port in ports if self._own_network else ():
            try:
                found.append(held.enter_context(socket.create_server(("127.0.0.1", port), backlog=128)))
            except OSError as error:
                why = os.strerror(error.errno) if error.errno else str(error)
                message = f"services.{service}.ports: port {port} of 127.0.0.1 was leased, but cannot be used: {why}"
                raise PortTakenError(message, port=port, service=service, hint=_TAKEN) from None
        return found

    def run(self, service: SandboxService, build: BuildSpec | None, bound: dict[str, str]) -> str:
        """Run a one-shot to its end; gives its output. Raises RunError."""
        answer = self._ask({**self._request(service, build, bound), "do": "run"}, service.name)
        return str(answer["output"])

    def stop(self, name: str, grace_s: float) -> bool:
        """Close the tunnels of a service, then let it end by SIGTERM, or after the grace period by SIGKILL.

        Returns False if it had to be killed. Raises RunError.
        """
        if self._child is None:
            return True
        try:
            self._child.ask({"do": "stop", "name": name, "kill": False}, grace_s)
        except TimeoutError:
            self._ask({"do": "stop", "name": name, "kill": True}, name, _KILL_S)
            return False
        except DaggerFailedError as error:
            raise _failed(name, error) from None
        return True

    def log(self, service: str | None = None) -> list[str]:
        """The last lines of the CLI's log, those that name the service. None: all of them."""
        lines = self._child.last_lines() if self._child else []
        return [line for line in lines if service is None or service in line]

    def close(self) -> None:
        """End the session and everything in it; no error if it is closed."""
        child, self._child = self._child, None
        if child:
            child.__exit__(None, None, None)

    def _ask(self, request: dict[str, Any], service: str, timeout_s: float | None = None) -> dict[str, Any]:
        limit_s = timeout_s or self._settings.image_timeout_s
        if self._child is None:
            raise _failed(service, DaggerFailedError({"message": "there is no session"}))
        try:
            return self._child.ask(request, limit_s)
        except TimeoutError:
            raise _failed(service, DaggerFailedError({"message": f"no answer within {limit_s:g} s"})) from None
        except DaggerFailedError as error:
            if request["do"] == "prepare" and "exit_code" in error.facts:
                raise _not_built(service, error) from None
            raise _failed(service, error) from None

    def _request(self, service: SandboxService, build: BuildSpec | None, bound: dict[str, str]) -> dict[str, Any]:
        if build:
            building.refuse_unhonoured(build, BuilderName.DAGGER)
        secret = {name: value for name, value in service.environment.items() if self._is_secret(name)}
        return {
            "name": service.name,
            "hostname": service.hostname,
            "image": service.image,
            "build": request_of(build) if build else None,
            "command": list(service.command) or None,
            "entrypoint": None if service.entrypoint is None else list(service.entrypoint),
            "own_entrypoint": service.entrypoint == (),
            "environment": {name: value for name, value in service.environment.items() if name not in secret},
            "secret_environment": secret,
            "user": service.user,
            "workdir": service.workdir,
            "init": service.init,
            "ports": sorted({*service.exposed, *service.asked}),
            "asked": list(service.asked),
            "health": _health(service.health),
            "scratch": list(service.scratch),
            "volumes": list(service.volumes),
            "copies": service.copies,
            "files": [file.model_dump(mode="json") for file in service.files],
            "bindings": bound,
        }


def _health(health: SandboxHealth | None) -> dict[str, Any] | None:
    """A health check as arguments of the API, whose times are Go's durations. None: the image's."""
    if health is None:
        return None
    given = health.model_dump(exclude_none=True)
    return {name.removesuffix("_s"): f"{value:.3f}s" if name.endswith("_s") else value for name, value in given.items()}


def _not_ready(service: str, error: DaggerFailedError, limit_s: float, hidden: Collection[str] = ()) -> RunError:
    """The error of a service that did not become ready; that of its session if it was something else.

    `hidden`: variables that its health check does not see.
    """
    said, code = str(error).strip(), error.facts.get("exit_code")
    if error.kind == "":
        reason, what = "timeout", f"not ready after {limit_s:.1f} s: {said}"
    elif error.kind == "CutOffError":
        reason, code = "exited", None
        what = f"seems to have ended before it was ready: {said}"
    elif said.startswith(_UNANSWERED):  # the engine gives a port 15 minutes
        reason, what = "timeout", f"not ready: its port did not accept connections: {said.removeprefix(_UNANSWERED)}"
    elif said.startswith(_UNHEALTHY):
        reason, code, what = "unhealthy", None, f"its health check failed: {said.removeprefix(_UNHEALTHY)}"
    elif code is not None or said == _ENDED:
        reason, code = "exited", code or 0
        what = f"ended with exit code {code} before it was ready"
    else:
        return _failed(service, error)
    hint = _ITS_OUTPUT if error.output else _LOGGED
    if reason == "unhealthy" and hidden:
        hint += f" Dagger does not give it the variables that look secret: {', '.join(sorted(hidden))}."
    fields = {"service": service, "reason": reason, "exit_code_of_service": code, "log": _shown(error)}
    return NotReadyError(f"services.{service}: {what}", hint=hint, **fields)


def _not_built(service: str, error: DaggerFailedError) -> RunError:
    """The error of a service whose image could not be built."""
    return RunError(
        f"services.{service}: build failed: {_first_line(error)}",
        service=service,
        reason="build failed",
        log=error.log or None,
        hint="The lines above are the command that failed, its output, and what Dagger logged.",
    )


def _failed(service: str, error: DaggerFailedError) -> RunError:
    """The error of a service or one-shot, with its output."""
    code = error.facts.get("exit_code")
    return RunError(
        f"services.{service}: {_first_line(error)}",
        service=service,
        reason="exited" if code is not None else "not started",
        exit_code_of_service=code,
        log=_shown(error),
        hint=_ITS_OUTPUT if error.output else _LOGGED,
    )


def _first_line(error: DaggerFailedError) -> str:
    return (str(error).strip() or "no reason given").splitlines()[0][:500]


def _shown(error: DaggerFailedError) -> str | None:
    """What a service said before it ended, or if that is nothing, what Dagger logged."""
    return error.output or error.log or None
