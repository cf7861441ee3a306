"""`moorage doctor`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import Annotated

from cyclopts import Parameter

from moorage.adapters.compose.plugins import buildx
from moorage.adapters.compose.program import find_program
from moorage.cli.output import as_json, say
from moorage.cli.world import open_world
from moorage.errors import (
    BackendUnavailableError,
    ComposeUnavailableError,
    EngineUnavailableError,
    HubError,
    MoorageError,
)
from moorage.interfaces import World

_LEAST_FREE_BYTES = 1 << 30


def doctor(*, json: Annotated[bool, Parameter(help="Print the findings as JSON.")] = False) -> int:
    """Check what Moorage needs: engine, Compose, builder, state directory, disk, hub; Dagger too, which is optional."""
    world = open_world()
    checks: dict[str, Callable[[], str]] = {
        "engine": lambda: f"{world.engine.product()} {world.engine.ping()} at {world.engine.place().words}",
        "compose": lambda: _compose(world),
        "builder": lambda: _builder(world),
        "home": lambda: _home(world),
        "disk": lambda: _disk(world),
        "hub": _hub,
        "dagger": lambda: _dagger(world),
    }
    findings = [_finding(name, check) for name, check in checks.items()]
    if json:
        as_json(findings)
    else:
        for finding in findings:
            mark = "ok  " if finding["ok"] else "FAIL"
            say(f"{mark} {finding['check']:8} {finding['message']}")
            if finding["hint"]:
                say(f"     {'':8} → {finding['hint']}")
    return max(int(str(finding["exit_code"])) for finding in findings)


def _finding(name: str, check: Callable[[], str]) -> dict[str, object]:
    try:
        return {"check": name, "ok": True, "message": check(), "hint": None, "exit_code": 0}
    except MoorageError as error:
        return {"check": name, "ok": False, "message": str(error), "hint": error.hint, "exit_code": error.exit_code}


def _compose(world: World) -> str:
    """The one that is used, and those that come first and are too old, or cannot be run."""
    found = find_program(world.settings.compose)
    words = f"Compose {found.version}: {' '.join(found.program)}"
    return "; passed over: ".join([words, *found.passed_over])


def _builder(world: World) -> str:
    """What Compose builds with; that there is no Compose, or no engine, has been said."""
    try:
        return buildx(find_program(world.settings.compose).version, world.engine.product())
    except (ComposeUnavailableError, EngineUnavailableError):
        return "none without Compose and an engine"


def _home(world: World) -> str:
    world.files.write("doctor.txt", "can be written\n")
    world.files.remove("doctor.txt")
    return f"{world.settings.home} ({len(world.store.stacks())} stacks, {len(world.store.leases())} leases)"


def _disk(world: World) -> str:
    home = world.settings.home.expanduser().absolute()
    free = shutil.disk_usage(next(folder for folder in (home, *home.parents) if os.access(folder, os.X_OK))).free
    if free < _LEAST_FREE_BYTES:
        message = f"{world.settings.home}: only {free >> 20} MiB free"
        raise MoorageError(message, hint="Free some space: `docker system df` shows how much images use.")
    return f"{free >> 30} GiB free"


def _hub() -> str:
    from moorage.hub.address import find, silent
    from moorage.hub.takeover import is_open_to_all

    address = find()
    if address and is_open_to_all(address):
        message = f"an earlier version of Moorage has started {address.api_url}, and anybody on this machine may use it"
        raise HubError(message, hint="`moorage hub start` replaces it.")
    if address is None and (busy := silent()):
        raise HubError(busy, hint="It may be busy: try again; else `moorage hub stop`, then `moorage hub start`.")
    return f"Prefect API at {address.api_url}" if address else "not running; `moorage up` starts it"


def _dagger(world: World) -> str:
    """CLI, engine and versions of Dagger, or why it cannot be used: a failure only if it is the selected builder."""
    from moorage.adapters.dagger.preflight import DaggerLook

    found = DaggerLook(world.settings, world.engine).preflight()
    seen = "; ".join(found.found)
    if found.usable:
        return seen
    if world.settings.builder == "dagger":
        raise BackendUnavailableError(f"{found.reason} ({seen})", backend="dagger", hint=found.hint)
    return f"not usable, but not selected either: {found.reason} ({seen})"
