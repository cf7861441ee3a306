"""Names that meet: what two stacks would come to share on an engine, without any of them saying so.

Compose makes names by joining: volume `data` of stack `a_b` and volume `b_data` of stack `a` are both `a_b_data`, and
it takes what it finds. A name that the file gives (`name:`, `external: true`) is meant, and no claim.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from moorage.model.definition import Config, Service
from moorage.rules import labels

ELSEWHERE = "of another MOORAGE_HOME"


class Claim(NamedTuple):
    """A name that Compose derives for a stack."""

    kind: str
    """`container`, `network` or `volume`."""
    name: str
    key: str
    """Where in the file it comes from, such as `volumes.data`."""


def claims(stack: str, config: Config, services: Mapping[str, Service], named: Iterable[str]) -> tuple[Claim, ...]:
    """The names that Compose derives for what a stack needs. `named` are the keys that the file gives a name."""
    given = frozenset(named)
    found = [
        Claim("container", f"{stack}-{name}-{number}", f"services.{name}")
        for name, service in services.items()
        for number in range(1, service.replicas + 1)
    ]
    for kind, section in (("network", "networks"), ("volume", "volumes")):
        for key, thing in (config.get(section) or {}).items():
            name, where = f"{stack}_{key}", f"{section}.{key}"
            if thing is None or thing.get("external") or where in given:
                continue
            if thing.get("name", name) == name:
                found.append(Claim(kind, name, where))
    return tuple(found)


def holder(marks: Mapping[str, str], stack: str, home: str) -> str | None:
    """Whose an object with these labels is, in words. None: the stack's own, or nobody's that is known.

    What plain `docker compose` made under the stack's name is the stack's too.
    """
    project = marks.get(labels.COMPOSE_PROJECT, "")
    if project and project != stack:
        return f"stack {project!r}"
    if project and marks.get(labels.HOME, home) != home:
        return f"stack {project!r} {ELSEWHERE}"
    return None


def is_nobodys(marks: Mapping[str, str]) -> bool:
    """True if no Compose project made it."""
    return labels.COMPOSE_PROJECT not in marks


def may_meet(stack: str, other: str) -> bool:
    """True if names of the two stacks can be equal: one name is the other, a separator, and something more."""
    short, long = sorted((stack, other), key=len)
    return long.startswith((f"{short}-", f"{short}_"))
