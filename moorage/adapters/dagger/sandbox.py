"""Throw-away services in Dagger: one session, services bound to each other, tunnels on loopback ports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from moorage.adapters.dagger.builder import request_of
from moorage.adapters.dagger.child import DaggerChild, DaggerFailedError
from moorage.adapters.dagger.preflight import DaggerLook
from moorage.errors import RunError
from moorage.interfaces import Engine
from moorage.model.image import Availability, BuilderName, BuildSpec, RegistryLogin
from moorage.model.sandbox import SandboxService
from moorage.rules import building
from moorage.settings import Settings

_STOP_S = 20.0


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

    def preflight(self) -> Availability:
        """Whether SDK, CLI and engine are there; at most 5 s, nothing is started."""
        return self._look.preflight()

    def open(self) -> None:
        """Open the session. Raises BackendUnavailableError."""
        child = DaggerChild(self._look.environment(), self._settings.dagger_connect_timeout_s, logins=self._logins)
        child.__enter__()
        self._child = child

    def start(
        self,
        service: SandboxService,
        build: BuildSpec | None,
        bound: dict[str, str],
        tunnels: Sequence[tuple[int, int]],
    ) -> None:
        """Start a service with its tunnels. Raises RunError with its output."""
        wanted = [{"backend": inside, "frontend": here} for inside, here in tunnels]
        self._ask({**self._request(service, build, bound), "do": "start", "tunnels": wanted}, service.name)

    def run(self, service: SandboxService, build: BuildSpec | None, bound: dict[str, str]) -> str:
        """Run a one-shot to its end; gives its output. Raises RunError."""
        answer = self._ask({**self._request(service, build, bound), "do": "run"}, service.name)
        return str(answer["output"])

    def stop(self, name: str) -> None:
        """Close the tunnels of a service, then let it end by its signal. Raises RunError."""
        self._ask({"do": "stop", "name": name, "kill": False}, name, _STOP_S)

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
            "ports": list(service.exposed),
            "scratch": list(service.scratch),
            "volumes": list(service.volumes),
            "copies": service.copies,
            "files": [file.model_dump(mode="json") for file in service.files],
            "bindings": bound,
        }


def _failed(service: str, error: DaggerFailedError) -> RunError:
    """The error of a service or one-shot, with its output."""
    first = (str(error).strip() or "no reason given").splitlines()[0]
    code = error.facts.get("exit_code")
    return RunError(
        f"services.{service}: {first[:500]}",
        service=service,
        reason="exited" if code is not None else "not started",
        exit_code_of_service=code,
        log=error.log or None,
        hint="The lines above are its output.",
    )
