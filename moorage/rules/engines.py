"""Which engine a stack is on, and what an engine on another machine cannot be asked for."""

from __future__ import annotations

from collections.abc import Mapping

from moorage.errors import DefinitionError, OtherEngineError
from moorage.model.definition import Check, Service
from moorage.model.engine import EnginePlace, EngineRecord

_OVER_THE_NETWORK = (Check.HTTP, Check.TCP)


def is_same(recorded: EngineRecord | None, now: EngineRecord) -> bool:
    """Whether what is on record is on the engine that is used now. None: written by an earlier version; taken for it.

    One engine may be reached by several addresses, and at one address another engine may have taken the place of the
    former, as in a CI job: only where both differ, it is another one.
    """
    if recorded is None or recorded.address == now.address:
        return True
    return bool(recorded.id) and recorded.id == now.id


def other(stack: str, recorded: EngineRecord, now: EnginePlace) -> OtherEngineError:
    """The error for a stack that is on another engine than the one that is used."""
    how = f"DOCKER_CONTEXT={recorded.context}" if recorded.context else f"DOCKER_HOST={recorded.address}"
    return OtherEngineError(
        f"{stack}: it is on the engine at {recorded.address}, and this is the one at {now.words}: nothing was done",
        hint=f"`{how} moorage …` works on that one; `--name` makes a second stack on this one. If that engine is gone "
        "for good, set MOORAGE_FORGET_ENGINE=true once.",
        stack=stack,
        address=recorded.address,
    )


def refuse_far(services: Mapping[str, Service], place: EnginePlace) -> None:
    """Raises DefinitionError if the engine is on another machine and something has to be reached from this one."""
    if place.machine is None:
        return
    for name, service in services.items():
        if not service.replicas:
            continue
        key = "ports" if service.ports else ""
        if service.ready and service.ready.check in _OVER_THE_NETWORK:
            key = f"x-moorage.ready.{service.ready.check}"
        if key:
            raise DefinitionError(
                f"services.{name}.{key}: the engine at {place.words} is on another machine; ports are leased and asked "
                "on this one",
                hint="Leave ports out (`ports: !reset []` in an override file) and use a health check or `x-moorage."
                "ready: {exec: …}`; or run moorage on that machine.",
                service=name,
                key=f"services.{name}.{key}",
            )
