"""Secrets and configs with a value instead of a file on the host, which are written into the container."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from moorage.errors import DefinitionError
from moorage.model.definition import Config, InjectedFile

KINDS = ("secrets", "configs")
_FOLDERS = {"secrets": "/run/secrets/", "configs": "/"}
_OWNERS = range(1 << 32)
_MODES = range(0o10000)
_DIGITS = {8: re.compile(r"[0-7]{1,12}"), 10: re.compile(r"[0-9]{1,12}")}
VALUE = "x-#value"
"""Where Compose keeps the value of a secret of an included file."""


def is_injected(thing: Config | None) -> bool:
    """True for a secret or config with a value instead of a file on the host."""
    return thing is not None and ("content" in thing or "environment" in thing)


def from_environment(config: Config) -> dict[str, str]:
    """Those of a canonical project that take their value from the environment, such as `secrets.key` → its variable."""
    return {
        f"{kind}.{name}": str(thing["environment"])
        for kind in KINDS
        for name, thing in (config.get(kind) or {}).items()
        if thing and thing.get("environment") and "content" not in thing
    }


def of_included(raw: Config) -> dict[str, str]:
    """Values that only an included file's own environment has, such as `secrets.key` → its value."""
    values = {}
    for kind in KINDS:
        for name, thing in (raw.get(kind) or {}).items():
            if "environment" in (thing or {}) and (value := thing.get(VALUE, thing.get("content"))) is not None:
                values[f"{kind}.{name}"] = str(value)
    return values


def injected(
    service: str, uses: Mapping[str, Any], config: Config, values: Mapping[str, str]
) -> Iterable[InjectedFile]:
    """The files that a service gets. `values`: those from the environment, by `secrets.key`. Raises DefinitionError."""
    for kind in KINDS:
        for use in uses.get(kind) or ():
            key = f"{kind}.{use['source']}"
            thing = (config.get(kind) or {}).get(use["source"]) or {}
            if thing.get("external"):
                message = f"{key}.external: external {kind} exist only in Swarm"
                hint = "Give it a `file` or an `environment` variable."
                raise DefinitionError(message, key=f"{key}.external", hint=hint)
            content = thing.get("content")
            if content is not None:
                content = str(content).replace("$$", "$")
            elif "environment" in thing:
                content = values.get(key)
                if content is None:
                    message = f"{key}: environment variable {thing['environment']!r} is not set"
                    raise DefinitionError(message, key=f"{key}.environment", hint="Set it, or give it a `file`.")
            if content is not None:
                yield _file(service, kind, use, content)


def _file(service: str, kind: str, use: Config, content: str) -> InjectedFile:
    target, where = str(use.get("target") or use["source"]), f"services.{service}.{kind}"
    return InjectedFile(
        target=target if target.startswith("/") else _FOLDERS[kind] + target,
        content=content,
        mode=_number(use.get("mode") or "0444", 8, _MODES, f"{where}.mode", use),
        uid=_number(use.get("uid") or 0, 10, _OWNERS, f"{where}.uid", use),
        gid=_number(use.get("gid") or 0, 10, _OWNERS, f"{where}.gid", use),
        secret=kind == "secrets",
    )


def _number(value: Any, base: int, limits: range, where: str, use: Config) -> int:
    """As with Compose, an owner is a number: names are known in the image only."""
    text = str(value)
    if _DIGITS[base].fullmatch(text) and int(text, base) in limits:
        return int(text, base)
    what = "an octal mode, such as 0440" if base == 8 else "the number of a user or group"
    raise DefinitionError(
        f"{where}: {value!r} is not {what} (source: {use['source']})",
        service=where.split(".")[1],
        key=where,
        hint="`id` in the container tells the numbers." if base != 8 else "Give it as a number from 0 to 07777.",
    )
