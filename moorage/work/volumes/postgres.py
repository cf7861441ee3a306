"""Dumps a running PostgreSQL into a snapshot, and loads it: `pg_dump` of each database, `pg_dumpall` of the roles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from moorage.errors import EngineError
from moorage.interfaces import World
from moorage.model.volume import Manifest
from moorage.work.volumes.archive import Reader, Writer

# Same as the image's own entry point: over the unix socket, as the user that it created.
_AS_OWNER = (
    'export PGUSER="${POSTGRES_USER:-postgres}" PGPASSWORD="${POSTGRES_PASSWORD:-}"; '
    '[ -z "${POSTGRES_PASSWORD_FILE:-}" ] || PGPASSWORD="$(cat "$POSTGRES_PASSWORD_FILE")"; exec "$@"'
)
_DATABASES = "select datname from pg_database where datallowconn and not datistemplate order by datname"
_OWN_ROLE = "select quote_ident(current_user)"
_GLOBALS = "globals.sql"
_TRIES = 3


def _command(*words: str) -> list[str]:
    return ["sh", "-c", _AS_OWNER, "moorage", *words]


def databases(world: World, container: str) -> tuple[str, ...]:
    """The names of all databases except templates. Raises EngineError."""
    command = _command("psql", "-X", "-A", "-t", "-0", "-d", "template1", "-c", _DATABASES)
    found = b"".join(world.volumes.dump(container, command, {}))
    return tuple(name.decode() for name in found.strip(b"\n").split(b"\0") if name)


def dump(world: World, container: str, names: Iterable[str], writer: Writer) -> None:
    """Write roles and databases into a snapshot. Raises EngineError."""
    writer.add_stream(_GLOBALS, world.volumes.dump(container, _command("pg_dumpall", "--globals-only"), {}))
    for number, name in enumerate(names):
        # Through the environment, because a name with `=` in it would be taken for a connection string.
        stream = world.volumes.dump(container, _command("pg_dump", "--format=custom"), {"PGDATABASE": name})
        writer.add_stream(f"{number}.dump", stream)


def load(world: World, container: str, reader: Reader, manifest: Manifest) -> None:
    """Load roles and databases into a newly created server. Raises EngineError."""
    own = b"".join(
        world.volumes.dump(container, _command("psql", "-X", "-A", "-t", "-d", "template1", "-c", _OWN_ROLE), {})
    )
    roles = _without_role(reader.stream(_GLOBALS), own.strip())
    world.volumes.load(container, _command("psql", "-X", "-q", "-d", "template1"), {}, roles)
    for number in range(len(manifest.databases)):
        _load_one(world, container, reader, f"{number}.dump")


def _load_one(world: World, container: str, reader: Reader, name: str) -> None:
    options = ("--create", "--clean", "--if-exists", "--exit-on-error", "--dbname=template1")
    for attempt in range(_TRIES):
        try:
            world.volumes.load(container, _command("pg_restore", *options), {}, reader.stream(name))
        except EngineError as error:
            # A health check may be using the database that is to be replaced.
            if "being accessed by other users" not in str(error) or attempt == _TRIES - 1:
                raise
        else:
            return


def _without_role(script: Iterable[bytes], role: bytes) -> Iterator[bytes]:
    """The statements, without those for one role: it exists, with the password of its own definition."""
    rest = b""
    starts = (b"CREATE ROLE " + role + b";", b"ALTER ROLE " + role + b" WITH ")
    for chunk in script:
        *lines, rest = (rest + chunk).split(b"\n")
        yield b"".join(line + b"\n" for line in lines if not line.startswith(starts))
    if not rest.startswith(starts):
        yield rest
