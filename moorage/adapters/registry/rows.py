"""Rows of the registry as models, and back.

A row that makes no sense is told of and passed over: a list is never lost over one of its items. What names a stack or
a run is checked here, because files and locks are named after it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, TypeVar

from pydantic import ValidationError

from moorage.model.base import Frozen
from moorage.model.generation import GenerationRecord
from moorage.model.image import BuiltRecord
from moorage.model.lease import AddressLease, Lease, LeaseKey, SubnetLease
from moorage.model.state import RunHead, RunRecord, StackRecord
from moorage.model.unreadable import Unreadable
from moorage.rules import naming
from moorage.rules.excerpts import quoted
from moorage.rules.ports import HIGHEST, LeaseChange

Tell = Callable[[Unreadable], None]
Row = Sequence[Any]
Named = Callable[[Row], Unreadable]
_Read = TypeVar("_Read")
_Record = TypeVar("_Record", bound=Frozen)

SENSELESS = (ValueError, TypeError, LookupError, ArithmeticError, RecursionError)
"""What reading a row raises that somebody else has written; pydantic's ValidationError is a ValueError."""
LONGEST_RECORD = 4 << 20
"""In characters: 8,000 services are less. A longer one is not even loaded."""
RECORD = f"CASE WHEN length(record) <= {LONGEST_RECORD} THEN record END"
"""The column of a record; NULL where it is too long."""
LEASE = "stack, service, target, protocol, slot, port, count, wanted, host_ip, since, run, previous, skipped"
_RUN_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ANOTHER_VERSION = "Was it written by another version of Moorage? That one reads it"


def readable(rows: Iterable[Row], read: Callable[[Row], _Read], named: Named, tell: Tell) -> Iterator[_Read]:
    """The rows that can be read. `named` says what a row would have been; of the others `tell` is told."""
    for row in rows:
        try:
            found = read(row)
        except SENSELESS as error:
            tell(named(row).model_copy(update={"what": why(error)}))
        else:
            yield found


def why(error: Exception) -> str:
    """What is wrong with a row, on one line."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"]))
        return f"{quoted(place)}: {first['msg']}" if place else str(first["msg"])
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return " ".join(str(error).split())[:200] or type(error).__name__


def _model(kind: type[_Record], record: Any) -> _Record:
    if record is None:
        message = f"its record is longer than {LONGEST_RECORD} characters"
        raise ValueError(message)
    return kind.model_validate_json(record)


def _same(what: str, key: Any, value: Any) -> None:
    if key != value:
        message = f"its key says {what} {quoted(key)}, its record {quoted(value)}"
        raise ValueError(message)


def _stack_name(name: Any) -> str:
    if not isinstance(name, str) or not naming.is_valid(name):
        message = f"{quoted(name)} is not a valid stack name"
        raise ValueError(message)
    return name


# Stacks and generations


def stack(row: Row) -> StackRecord:
    """`name, record`."""
    name, text = row
    record = _model(StackRecord, text)
    _same("name", _stack_name(name), record.name)
    if "\0" in record.path:
        message = "its path contains a NUL"
        raise ValueError(message)
    return record


def named_stack(row: Row) -> Unreadable:
    """A stack that cannot be read is left alone: whether it is one for production, nobody can tell."""
    hint = f"{_ANOTHER_VERSION}; else move hub.db away: the next command makes it again, from files and the engine."
    return Unreadable(where=f"the record of stack {quoted(row[0])}", what="", hint=hint, stack=_text(row[0]))


def generation(row: Row) -> GenerationRecord:
    """`stack, number, record`."""
    name, number, text = row
    record = _model(GenerationRecord, text)
    _same("stack", name, record.stack)
    _same("number", number, record.number)
    return record


def named_generation(row: Row) -> Unreadable:
    """It is never removed as surplus, and cannot be gone back to."""
    where = f"the record of generation {quoted(row[1])} of stack {quoted(row[0])}"
    return Unreadable(where=where, what="", hint=f"{_ANOTHER_VERSION}; the others are kept.", stack=_text(row[0]))


# Leases


def holding(row: Row) -> LeaseChange:
    """The columns of `LEASE`."""
    name, service, target, protocol, slot, port, count, wanted, host_ip, since, run, previous, skipped = row
    lease = Lease(
        key=LeaseKey(stack=_stack_name(name), service=service, target=target, protocol=protocol, slot=slot),
        port=port,
        count=count,
        wanted=wanted,
        host_ip=host_ip,
        since=datetime.fromisoformat(since),
        run=run,
        skipped=json.loads(skipped),
    )
    return LeaseChange(lease, Lease.model_validate_json(previous) if previous else None)


def named_lease(row: Row) -> Unreadable:
    """Its port, if it is one, is given to nobody else."""
    name, service, target, protocol, *_ = row
    where = f"the lease of {quoted(service)}, port {quoted(target)}/{quoted(protocol)}, of stack {quoted(name)}"
    hint = "`moorage down --release-ports` of that stack removes it, the next `moorage up` replaces it."
    return Unreadable(where=where, what="", hint=hint, stack=_text(name))


def leased_ports(port: Any, count: Any, skipped: Any) -> list[int]:
    """The ports of a row, without building a model; only the first one if their number makes no sense."""
    try:
        others = frozenset(json.loads(skipped))
        last = port + count + len(others) - 1
    except SENSELESS:
        others, last = frozenset(), port
    if not isinstance(port, int) or not 1 <= port <= HIGHEST:
        return []
    if not isinstance(last, int) or not port <= last <= HIGHEST:
        return [port]
    return [one for one in range(port, last + 1) if one not in others]


def previous(text: Any) -> Lease | None:
    """The lease that a row replaces. None: none, or it makes no sense."""
    try:
        return Lease.model_validate_json(text) if text else None
    except SENSELESS:
        return None


def of_lease(change: LeaseChange) -> tuple[Any, ...]:
    """The columns of `LEASE`."""
    lease, previous = change.lease, change.previous
    return (
        *key(lease.key),
        lease.port,
        lease.count,
        lease.wanted,
        lease.host_ip,
        lease.since.isoformat(),
        lease.run,
        previous.model_dump_json() if previous else None,
        json.dumps(lease.skipped),
    )


def key(of: LeaseKey) -> tuple[str, str, int, str, int]:
    """The columns that name a lease."""
    return of.stack, of.service, of.target, of.protocol, of.slot


def subnet(row: Row) -> SubnetLease:
    """`stack, network, subnet, since`."""
    name, network, subnet, since = row
    return SubnetLease(stack=_stack_name(name), network=network, subnet=subnet, since=datetime.fromisoformat(since))


def named_subnet(row: Row) -> Unreadable:
    """A network that has the subnet keeps it: what is on the engine counts."""
    where = f"the subnet of network {quoted(row[1])} of stack {quoted(row[0])}"
    return Unreadable(where=where, what="", hint="The next `moorage up` replaces it.", stack=_text(row[0]))


# Runs


def run(row: Row) -> RunRecord:
    """`id, stack, record`."""
    identifier, name, text = row
    record = _model(RunRecord, text)
    _same("id", identifier, record.id)
    _same("stack", _stack_name(name), record.stack)
    if not _RUN_ID.fullmatch(record.id):
        message = f"{quoted(record.id)} is not the id of a run"
        raise ValueError(message)
    return record


def named_run(row: Row) -> Unreadable:
    """One that has not ended cannot be undone or carried on."""
    identifier, name, *_ = row
    where = f"the record of run {quoted(identifier)} of stack {quoted(name)}"
    hint = f"{_ANOTHER_VERSION}; `moorage status` shows what is there, `moorage down` removes it."
    return Unreadable(where=where, what="", hint=hint, stack=_text(name))


def of_run(record: RunRecord) -> tuple[Any, ...]:
    """The columns of a head, and the record."""
    head = record.head
    return (
        *(head.id, head.stack, head.operation, json.dumps(head.services), head.outcome),
        *(head.started_at.isoformat(), head.finished_at.isoformat() if head.finished_at else None, head.has_timeline),
        record.model_dump_json(),
    )


def head(row: Row) -> RunHead:
    """`id, stack, operation, services, outcome, started_at, finished_at, has_timeline`."""
    identifier, name, operation, services, outcome, started_at, finished_at, has_timeline = row
    return RunHead(
        id=identifier,
        stack=name,
        operation=operation,
        services=tuple(json.loads(services)),
        outcome=outcome,
        started_at=datetime.fromisoformat(started_at),
        finished_at=datetime.fromisoformat(finished_at) if finished_at else None,
        has_timeline=bool(has_timeline),
    )


def address(row: Row) -> AddressLease:
    """`stack, service, network, subnet, address, since`."""
    name, service, network, subnet, found, since = row
    return AddressLease(
        stack=_stack_name(name),
        service=service,
        network=network,
        subnet=subnet,
        address=found,
        since=datetime.fromisoformat(since),
    )


def of_address(lease: AddressLease) -> tuple[str, ...]:
    """The same without the stack."""
    return (lease.service, lease.network, lease.subnet, lease.address, lease.since.isoformat())


def named_address(row: Row) -> Unreadable:
    """The service gets another one when it is made again."""
    where = f"the address of {quoted(row[1])} of stack {quoted(row[0])}"
    return Unreadable(where=where, what="", hint="The service gets another one.", stack=_text(row[0]))


def seconds(row: Row) -> float:
    """`seconds`."""
    found = float(row[0])
    if not 0 <= found < float("inf"):
        message = f"{found} is not a duration"
        raise ValueError(message)
    return found


def named_timing(row: Row) -> Unreadable:
    """Its absence changes nothing but what counts as slow."""
    return Unreadable(where=f"a timing of {quoted(row[0])} seconds", what="", hint="It counts for nothing.")


def built(row: Row) -> BuiltRecord:
    """`image_id, stack, at`."""
    return BuiltRecord(image_id=row[0], stack=row[1], at=datetime.fromisoformat(row[2]))


def named_built(row: Row) -> Unreadable:
    """Its absence means that the image is taken for somebody else's."""
    return Unreadable(where=f"the record of image {quoted(row[0])}", what="", hint="A sweep leaves the image alone.")


def peak(row: Row) -> tuple[str, int]:
    """`service, bytes`."""
    service, found = row
    if not isinstance(service, str) or not isinstance(found, int) or found < 0:
        message = f"{found!r} is not a number of bytes"
        raise ValueError(message)
    return service, found


def named_peak(row: Row) -> Unreadable:
    """Its absence changes nothing but what is known before a start."""
    return Unreadable(where=f"the memory that {quoted(row[0])} took", what="", hint="It counts for nothing.")


def instant(text: Any) -> datetime | None:
    """A point in time. None: it is none, or has no time zone."""
    try:
        found = datetime.fromisoformat(text)
    except SENSELESS:
        return None
    return found if found.tzinfo else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
