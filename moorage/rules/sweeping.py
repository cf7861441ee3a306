"""What `sweep` removes, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from moorage.model.lease import Lease
from moorage.model.state import Observed, StackRecord


def why_to_end(record: StackRecord, observed: Observed, *, directory_exists: bool, now: datetime) -> str | None:
    """Why a stack has to be removed. None: it stays.

    An expired stack is removed once: after that nothing of it exists, and its record waits for the next `up`.
    """
    if not directory_exists:
        return f"its directory {record.path} is gone"
    if record.expires_at and record.expires_at <= now and (observed.containers or observed.networks):
        return f"its time to live ended at {record.expires_at:%Y-%m-%d %H:%M} UTC"
    return None


def not_yet(path: str, since: datetime | None, again_s: float, now: datetime) -> str | None:
    """Why a stack whose directory is gone stays for now: one look is not enough. None: it has been gone long enough.

    `since`: when that was first seen. None: just now, and nothing was written down.
    """
    due = (since or now) + timedelta(seconds=again_s)
    if since is not None and since < now and due <= now:
        return None
    return f"its directory {path} is gone; a sweep ends it if that is still so after {due:%Y-%m-%d %H:%M} UTC"


def without_stack(leases: Iterable[Lease], known: Iterable[str]) -> dict[str, tuple[Lease, ...]]:
    """Leases of unknown stacks, by stack."""
    names = set(known)
    lost: dict[str, tuple[Lease, ...]] = {}
    for lease in leases:
        if lease.key.stack not in names:
            lost[lease.key.stack] = (*lost.get(lease.key.stack, ()), lease)
    return lost
