"""Which files of a project hold secrets, and which values an env file sets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePath

from moorage.model.definition import Config

_SAYS_SECRET = re.compile(r"(?:^|[._-])(?:secrets?|credentials?|passwords?|passwd|tokens?)(?:[._-]|$)", re.IGNORECASE)
_ASSIGNMENT = re.compile(
    r"^[ \t]*(?:export[ \t]+)?([\w.-]+)[ \t]*[=:][ \t]*"
    r"(\"(?:[^\"\\]|\\.)*\"|'[^']*'|[^\n]*)",
    re.MULTILINE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
# Each begins only where nothing before it has failed, so that both take linear time on any text: a quote that nobody
# closes reaches to the end of its line, a word begins after what is none.
_QUOTED = re.compile(r"(?:\"((?:[^\"\\\n]|\\.?)*)(?:\"|$)|'([^'\n]*)(?:'|$))([ \t]*:)?", re.MULTILINE)
_NO_WORD = r"\s\"',;{}\[\]=:"
_LAST_WORD = re.compile(rf"(?<![^{_NO_WORD}])([^{_NO_WORD}]{{8,}}=*)[ \t]*[\"',;}}\]]*[ \t]*$", re.MULTILINE)
_COMMENT = re.compile(r"(?<![ \t])[ \t]+#.*")


def says_secret(path: PurePath) -> bool:
    """True if the name of a file, or of its folder, says that all in it is secret: `secrets.env`, `secrets/db.env`."""
    return any(_SAYS_SECRET.search(part) for part in path.parts[-2:])


def assigned(text: str) -> Iterator[tuple[str, str]]:
    """The variables that an env file sets, with their values as written; Compose may make others of them."""
    for match in _ASSIGNMENT.finditer(text):
        name, value = match[1], match[2].strip()
        yield name, value
        if value[:1] in ("'", '"') and value[-1:] == value[:1]:
            yield name, value[1:-1]
            if value[0] == '"' and "\\" in value:
                yield name, _ESCAPE.sub(lambda one: _ESCAPES.get(one[1], one[1]), value[1:-1])
        elif (bare := _COMMENT.sub("", value)) != value:
            yield name, bare


def values_within(text: str) -> Iterator[str]:
    """Values in a file of any format: quoted texts that are no keys, and the last word of each line."""
    quoted = (match[1] or match[2] for match in _QUOTED.finditer(text) if not match[3])
    yield from filter(None, quoted)
    yield from (match[1] for match in _LAST_WORD.finditer(text))


def with_files(config: Config, kind: str) -> dict[str, str]:
    """The `secrets` or `configs` of a canonical project that are files: name → path."""
    things = (config.get(kind) or {}).items()
    return {name: str(thing["file"]).replace("$$", "$") for name, thing in things if thing and thing.get("file")}


def env_files(raw: Config) -> dict[str, list[str]]:
    """Path as written → the services that have it as `env_file`."""
    found: dict[str, list[str]] = {}
    for name, service in (raw.get("services") or {}).items():
        files = (service or {}).get("env_file") or ()
        for file in [files] if isinstance(files, str) else files:
            path = file if isinstance(file, str) else str(file.get("path") or "")
            found.setdefault(path, []).append(name)
    return found
