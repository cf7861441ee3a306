"""Turns Compose's error output into errors that name file, service and key, and say what to do next."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches

from moorage.errors import (
    DefinitionError,
    EngineError,
    EngineUnavailableError,
    ImageError,
    MoorageError,
    TransientImageError,
)
from moorage.model.definition import FILE_NAMES, OVERRIDE_NAMES, Source

_SERVICE_PATH = re.compile(r"\bservices\.([\w.-]+?)\.([\w.\[\]-]+)")
_IN_BRACKETS = re.compile(r"'services\[([^\]\s]{1,500})\]\.")
"""As Compose's decoder writes a path, other than its readers."""
_SERVICE_NAME = re.compile(r'service "([^"]+)"')
_NO_SERVICE = re.compile(r'service "([^"]+)" depends on undefined service "([^"]+)"')
_UNDECLARED = re.compile(r'service "([^"]+)" refers to undefined (network|volume|secret|config) (\S+?):')
_EXTENDS = re.compile(r'cannot extend service "([^"]+)"')
_NO_KEY = re.compile(r"\.([\w-]+) false schema|additional properties '([^']+)' not allowed")
_NO_POOL = re.compile("non-overlapping IPv4 address pool|predefined address pools have been fully subnetted")
_NOT_EXTERNAL = re.compile(r'(network|volume) "?([^\s"]+)"? (?:declared as external|not found)')
_FILE = re.compile(r"(?:validating|parsing|open|stat|load) (/[^\s:]+)")
_NO_FILE = re.compile(r"no configuration file provided|Can't find a suitable configuration file")
_ENGINE_DOWN = re.compile(
    r"Cannot connect to the Docker daemon|failed to connect to the docker API|error during connect"
)
_PROGRESS = re.compile(r" (?:Network|Volume|Container) (\S+) (Creating|Created|Error Error response)")
_PASSING = re.compile(
    r"timeout|timed out|TLS handshake|connection (?:refused|reset)|no such host|temporary failure|i/o timeout|EOF|"
    r"too many requests|(?:429|502|503|504)\b|network is unreachable|server misbehaving",
    re.IGNORECASE,
)
_LASTING = re.compile(
    r"not found|manifest unknown|pull access denied|repository does not exist|unauthorized|denied|invalid reference",
    re.IGNORECASE,
)


_BROKEN_OFF = re.compile(r"^panic: (.*)$(?s:.*)^goroutine \d+ ", re.MULTILINE)
"""A fault of Compose's own: its stack is of no use to anybody here."""
_OF_REGISTRY = re.compile(
    r"""(?:Get|Head) ["']?https?://|(?:resolve|load) (?:source )?metadata|failed to (?:do request|authorize|fetch)|"""
    r"httpReadSeeker|toomanyrequests|error pulling image|registry",
    re.IGNORECASE,
)
"""In the last words of a build: what failed is a base image, not a command of the Dockerfile."""


def definition_error(stderr: str, source: Source, services: Callable[[], Sequence[str]]) -> DefinitionError:
    """Compose's error output as an error that names file, service and key.

    `services` finds the names of the definition's services; it is called only if one is misspelt.
    """
    if "fatal error: runtime:" in stderr or "out of memory" in stderr:
        message = f"{_files(source)}: reading it needs more memory than allowed; does it have nested aliases?"
        return DefinitionError(message, file=_files(source), hint="MOORAGE_COMPOSE_MEMORY_BYTES raises the limit.")
    if broken := _BROKEN_OFF.search(stderr):
        message = f"{_files(source)}: Compose itself breaks off at it: {broken[1]}"
        hint = "It does not say where: look for a value of an odd type, such as `true` or a list in place of a text."
        return DefinitionError(message, file=_files(source), hint=hint)
    text = _IN_BRACKETS.sub(r"'services.\1.", _complaint(stderr))
    if _NO_FILE.search(text):
        return DefinitionError(
            f"{source.directory}: no compose file here or in a parent directory",
            file=str(source.directory),
            hint="Go to a project with a compose.yaml, or name one with --file.",
        )
    path, name, file = _SERVICE_PATH.search(text), _SERVICE_NAME.search(text), _FILE.search(text)
    service = path.group(1) if path else name.group(1) if name else None
    named = file.group(1) if file else _files(source)
    if missing := _NO_SERVICE.search(text):
        return _no_service(named, missing.group(1), missing.group(2), services())
    return DefinitionError(
        text if named in text else f"{named}: {text}",
        file=named,
        service=service,
        key=_key(text),
        hint=_advice(text),
    )


def _no_service(file: str, service: str, wanted: str, there: Sequence[str]) -> DefinitionError:
    """Compose gives the same message for `depends_on`, `links`, `volumes_from` and `network_mode: service:X`."""
    near = get_close_matches(wanted, there, n=1)
    others = ", ".join(sorted(there))
    message = f'{file}: services.{service}.depends_on: no service "{wanted}"'
    hint = f'Did you mean "{near[0]}"?' if near else f"Services: {others}." if others else None
    return DefinitionError(message, file=file, service=service, key=f"services.{service}.depends_on", hint=hint)


def _key(text: str) -> str | None:
    if path := _SERVICE_PATH.search(text):
        return f"services.{path.group(1)}.{path.group(2)}"
    if extends := _EXTENDS.search(text):
        return f"services.{extends.group(1)}.extends"
    undeclared = _UNDECLARED.search(text)
    return f"services.{undeclared.group(1)}.{undeclared.group(2)}s" if undeclared else None


def _advice(text: str) -> str | None:
    if "COMPOSE_EXPERIMENTAL_GIT_REMOTE" in text:
        return (
            "Compose would run git for it, as this directory's .git/config says. If you trust that, set "
            "COMPOSE_EXPERIMENTAL_GIT_REMOTE=true."
        )
    if "dependency cycle" in text:
        return "Remove one of these depends_on entries."
    if undeclared := _UNDECLARED.search(text):
        _, kind, name = undeclared.groups()
        return f"Check the spelling, or declare it at the top level of the file: `{kind}s: {{{name}: }}`."
    if strange := _NO_KEY.search(text):
        return f"Compose has no such key or name: check the spelling of {(strange.group(1) or strange.group(2))!r}."
    if "permission denied" in text:
        return "Give your user read permission for it."
    if "no such file or directory" in text or "not found" in text:
        return "Check the path."
    if "required variable" in text or "is missing a value" in text:
        return "Set the variable in the environment, in .env, or with --env-file."
    return "`docker compose config` shows the same error." if text else None


def _files(source: Source) -> str:
    found = [source.directory / name for name in FILE_NAMES + OVERRIDE_NAMES if (source.directory / name).is_file()]
    return ", ".join(str(file) for file in source.files or found) or str(source.directory)


def _complaint(output: str) -> str:
    """The error message without Compose's warnings."""
    lines = [line for line in output.splitlines() if line.strip() and not line.startswith("time=")]
    return "\n".join(lines).strip() or output.strip()


def last_words(output: Sequence[str]) -> str:
    """The error of a failed create: the last line that does not report progress."""
    lines = [
        line for line in output if line.strip() and not line.startswith((" Container", " Network", " Volume", "time="))
    ]
    return lines[-1].strip() if lines else "no output"


def unfinished(output: Sequence[str]) -> list[str]:
    """Names of objects that a failed create had begun to create: the engine may finish them after Compose has ended."""
    seen = [found.groups() for line in output if (found := _PROGRESS.match(line))]
    ended = {name for name, word in seen if word != "Creating"}
    return [name for name in dict.fromkeys(name for name, _ in seen) if name not in ended]


def engine_error(text: str, what: str) -> MoorageError:
    """The error for a failed create: the engine's own message, with a hint if we have one."""
    if _ENGINE_DOWN.search(text):
        return EngineUnavailableError(text, hint="Is the Docker engine running?")
    hint = "Check the path, or create the file or directory." if "path does not exist" in text else None
    if "active endpoints" in text:
        hint = "Its options change, so it has to be made anew; end or disconnect what others have on it."
    if "Pool overlaps" in text:
        hint = "Another network has addresses of that subnet: choose another one, or none (`docker network ls`)."
    if _NO_POOL.search(text):
        hint = (
            "The engine has given all its subnets to networks, about 30 unless it was told otherwise: remove networks "
            "that nobody needs (`docker network prune`, `moorage ls`), or set MOORAGE_SUBNETS to a range that is free."
        )
    if absent := _NOT_EXTERNAL.search(text):
        kind, name = absent.groups()
        hint = f"It is external: create it first (`docker {kind} create {name}`), or remove `external`."
    return EngineError(f"compose {what}: {text.removeprefix('Error response from daemon: ')}", call=what, hint=hint)


def image_error(what: str, service: str, output: Sequence[str]) -> ImageError:
    """The error for a failed build or pull, with its last lines; says whether a retry could help."""
    lines = [line for line in output if line.strip() and not line.startswith("time=")]
    text = last_words(output)
    seen = "\n".join(lines[-8:]) if what == "pull" else text if _OF_REGISTRY.search(text) else ""
    kind = TransientImageError if _PASSING.search(seen) and not _LASTING.search(text) else ImageError
    return kind(
        f"services.{service}: {what} failed: {text}",
        service=service,
        reason=f"{what} failed",
        log="\n".join(lines[-50:]),
        hint="The lines above are its output."
        if what == "build"
        else "Check the image's name, and that the registry is reachable.",
    )
