"""Who leases which port, asked of the registry port by port: a search costs the same however many leases there are.

Of each block of ports the file knows how many are leased, so that a search passes over full ones. Triggers keep that
number. It only says where to look first: if somebody has made it wrong, a free port is still found, and none twice.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import chain

from moorage.adapters.registry import rows
from moorage.model.lease import LeaseKey
from moorage.rules.ports import Holder, KnownLeases, Leased, container_port, holder

_BLOCK = 128
_HOLDER = "stack, service, target, protocol, slot, host_ip"
_FROM_LEASES = f"SELECT {_HOLDER}, port, count, skipped, previous FROM leases"  # noqa: S608  column names, ours
_OF_MORE_THAN_ONE_PORT = "count <> 1 OR skipped <> '[]' OR previous IS NOT NULL"
_AT = f"{_FROM_LEASES} WHERE port = ? AND protocol = ?"
_WIDE = f"{_FROM_LEASES} INDEXED BY wide_leases WHERE {_OF_MORE_THAN_ONE_PORT}"
_OF_CONTAINER_PORT = f"{_FROM_LEASES} WHERE stack = ? AND service = ? AND target = ? AND protocol = ?"
_FULL = f"SELECT block FROM leased_blocks WHERE protocol = ? AND ports >= {_BLOCK}"  # noqa: S608  a number, ours
_OF_BLOCK = "SELECT port FROM leases WHERE port BETWEEN ? AND ? AND protocol = ?"

_ANOTHER_THERE = """EXISTS (SELECT 1 FROM leases WHERE port = {row}.port AND protocol = {row}.protocol
                            AND host_ip <> {row}.host_ip)"""
_COUNTED = f"""INSERT INTO leased_blocks
    SELECT protocol, port / {_BLOCK}, count(DISTINCT port) FROM leases GROUP BY protocol, port / {_BLOCK}"""  # noqa: S608
_ONE_LESS = f"""UPDATE leased_blocks SET ports = ports - 1
    WHERE protocol = OLD.protocol AND block = OLD.port / {_BLOCK}"""  # noqa: S608
_ONE_MORE = f"""INSERT INTO leased_blocks VALUES (NEW.protocol, NEW.port / {_BLOCK}, 1)
    ON CONFLICT (protocol, block) DO UPDATE SET ports = ports + 1"""  # noqa: S608
_ADDED, _GONE = (f"NOT {_ANOTHER_THERE.format(row=row)}" for row in ("NEW", "OLD"))

MIGRATION = (
    """CREATE TABLE leased_blocks (
        protocol TEXT NOT NULL, block INTEGER NOT NULL, ports INTEGER NOT NULL, PRIMARY KEY (protocol, block)
        ) WITHOUT ROWID""",
    _COUNTED,
    f"CREATE INDEX wide_leases ON leases (port) WHERE {_OF_MORE_THAN_ONE_PORT}",
    f"CREATE TRIGGER lease_added AFTER INSERT ON leases WHEN {_ADDED} BEGIN {_ONE_MORE}; END",
    f"CREATE TRIGGER lease_gone AFTER DELETE ON leases WHEN {_GONE} BEGIN {_ONE_LESS}; END",
)
"""What version 6 of the file has for it."""


class RegistryLeases(Leased):
    """All leases of the file, as they are in one transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Reads those of more than one port, and of a port that a run may give back: there are few."""
        self._connection = connection
        self._full, self._leased_of = cache(self._once_full), cache(self._once_leased_of)
        self._wide = KnownLeases()
        for row in connection.execute(_WIDE):
            for held_by, ports in _held(row):
                self._wide.hold(held_by, ports)

    def holders(self, port: int, protocol: str) -> Sequence[Holder]:
        found = self._connection.execute(_AT, (port, protocol))
        at_it = (held_by for row in found for held_by, ports in _held(row) if port in ports)
        return (*at_it, *self._wide.holders(port, protocol))

    def unleased(self, span: range, protocol: str) -> Iterable[int]:
        full = self._full(protocol)
        blocks = range(span.start // _BLOCK, (span.stop - 1) // _BLOCK + 1) if span else range(0)
        first, then = (block for block in blocks if block not in full), (block for block in blocks if block in full)
        for block in chain(first, then):
            leased = self._leased_of(block, protocol)
            ports = range(max(span.start, block * _BLOCK), min(span.stop, (block + 1) * _BLOCK))
            yield from (port for port in ports if port not in leased)

    def _once_full(self, protocol: str) -> frozenset[int]:
        return frozenset(block for (block,) in self._connection.execute(_FULL, (protocol,)))

    def _once_leased_of(self, block: int, protocol: str) -> frozenset[int]:
        ports = (block * _BLOCK, (block + 1) * _BLOCK - 1)
        return frozenset(port for (port,) in self._connection.execute(_OF_BLOCK, (*ports, protocol)))

    def ports_of(self, key: LeaseKey) -> Iterable[int]:
        found = self._connection.execute(_OF_CONTAINER_PORT, container_port(key))
        return {port for row in found for _, ports in _held(row) for port in ports}


def _held(row: rows.Row) -> Iterator[tuple[Holder, Sequence[int]]]:
    """The holders of a row's ports, without building a model: of its own, and of those that a run may give back."""
    *held_by, port, count, skipped, previous = row
    yield Holder(*held_by), rows.leased_ports(port, count, skipped)
    if lease := rows.previous(previous):
        yield holder(lease), lease.ports
