"""Servers that are known by their image's name: how to ask whether they are ready.

The name is a guess. What runs in the container counts more: another program or another configuration file than the
image's own makes the guess void, another port is asked instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from moorage.model.base import Frozen
from moorage.rules.planning import image_kind

NOT_THERE = (126, 127)
"""Exit codes of a command that is not in the container."""
_SERVERS = {
    "postgres": frozenset({"postgres"}),
    "redis": frozenset({"redis-server", "valkey-server"}),
    "mysql": frozenset({"mysqld", "mariadbd", "mysqld_safe"}),
}
_BY_KIND = {
    # Over TCP: while the image initialises its data, PostgreSQL answers only on the Unix socket. Without a port, its
    # client asks the one of PGPORT, as the server does.
    "postgres": 'pg_isready -q -h 127.0.0.1 {port}-U "${{POSTGRES_USER:-postgres}}"',
    # NOAUTH is an answer too: Redis is up, and requires a password.
    "redis": "command -v redis-cli >/dev/null || exit 127; redis-cli {port}ping | grep -q -e PONG -e NOAUTH",
    "mysql": "for ask in mysqladmin mariadb-admin; do "
    "command -v $ask >/dev/null && exec $ask ping -h 127.0.0.1 {port}--silent; done; exit 127",
}
_PORT_OPTION = {"postgres": "-p", "redis": "-p", "mysql": "-P"}
_PORT_NAMES = {"postgres": ("-p", "port"), "redis": ("port",), "mysql": ("-P", "port")}
_HOST_NAMES = {"postgres": ("-h", "listen_addresses"), "redis": ("bind",), "mysql": ("bind-address",)}
_ELSEWHERE = frozenset({"config_file", "defaults-file", "skip-networking", "sentinel"})
"""Options that may say anything of the port, where we cannot read it."""
_HERE = frozenset({"*", "0.0.0.0", "::", "127.0.0.1", "localhost", "-::*"})  # noqa: S104 - read, never bound


class Guess(Frozen):
    """How to ask a server that is known by its image."""

    kind: str
    """postgres, redis or mysql."""
    command: tuple[str, ...]
    """To be run in the container. One of `NOT_THERE` as its exit code: the guess is wrong."""


def guess(reference: str, program: Sequence[str]) -> Guess | None:
    """How to ask what runs in a container. None: the image is not known, or something else runs in it.

    `program`: its first process with all arguments. Empty: not known, so it is taken for the image's own.
    """
    kind = image_kind(reference)
    arguments = _arguments(kind, program) if kind else None
    if arguments is None:
        return None
    said = _options(kind, arguments)
    hosts = " ".join(said[name] for name in _HOST_NAMES[kind] if name in said).replace(",", " ").split()
    elsewhere = any(name in said for name in _HOST_NAMES[kind]) and not _HERE & set(hosts)
    port = next((said[name] for name in _PORT_NAMES[kind] if name in said), "")
    if _ELSEWHERE & said.keys() or elsewhere or port == "0" or not (port.isdecimal() or not port):
        return None
    option = f"{_PORT_OPTION[kind]} {port} " if port else ""
    return Guess(kind=kind, command=("sh", "-c", _BY_KIND[kind].format(port=option)))


def _arguments(kind: str, program: Sequence[str]) -> list[str] | None:
    """What the server is told. None: it is not the server that runs, or it reads a file that we do not know."""
    words = list(program)
    if words and "entrypoint" in PurePosixPath(words[0]).name:
        words = words[1:]
        if words and words[0].startswith("-"):  # the images' own entrypoints put the server before options
            return words
    if not program:
        return []
    if not words or PurePosixPath(words[0]).name not in _SERVERS[kind]:
        return None
    reads_a_file = kind == "redis" and len(words) > 1 and not words[1].startswith("-")
    return None if reads_a_file else words[1:]


def _options(kind: str, arguments: Sequence[str]) -> Mapping[str, str]:
    """Name → value, of `-p 1`, `-p1`, `--port 1`, `--port=1` and PostgreSQL's `-c port=1`; the last one counts."""
    said: dict[str, str] = {}
    words = list(arguments)
    while words:
        word = words.pop(0)
        if word == "-c" and kind == "postgres" and words:
            word = f"--{words.pop(0)}"
        elif kind == "postgres" and word.startswith("-c") and "=" in word:
            word = f"--{word[2:]}"
        if word.startswith("--"):
            name, given, value = word[2:].partition("=")
            values = []
            while not given and words and not words[0].startswith("--"):  # redis: `--bind 127.0.0.1 -::1`
                values.append(words.pop(0))
            said[_spelt(kind, name.strip())] = value.strip() if given else " ".join(values)
        elif word.startswith("-"):
            value = word[2:] or (words.pop(0) if words and not words[0].startswith("-") else "")
            said[word[:2]] = value
    return said


def _spelt(kind: str, name: str) -> str:
    """An option's name as it is spelt here: PostgreSQL and MySQL take `-` for `_`, Redis takes capitals."""
    match kind:
        case "postgres":
            return name.replace("-", "_")
        case "mysql":
            return name.replace("_", "-")
    return name.lower()
