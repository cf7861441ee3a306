"""Points in time, as given to `--since` and `--until`."""

from __future__ import annotations

import re
from datetime import datetime

from moorage.errors import DefinitionError
from moorage.rules.durations import seconds

_UNIX = re.compile(r"\d{9,}(\.\d{1,9})?")


def nanoseconds(text: str, where: str, now: datetime) -> int:
    """A time in nanoseconds of the Unix epoch: from `10m` (ago), `2026-11-21T08:00:00Z`, a date, or Unix seconds.

    A time without a zone is in the zone of `now`. Raises DefinitionError that names `where`.
    """
    if _UNIX.fullmatch(text):
        whole, _, part = text.partition(".")
        return int(whole) * 10**9 + int((part or "0").ljust(9, "0"))
    try:
        at = datetime.fromisoformat(_cut(text))
    except ValueError:
        return _ago(text, where, now)
    aware = at if at.tzinfo else at.replace(tzinfo=now.tzinfo)
    return int(aware.timestamp()) * 10**9 + aware.microsecond * 1000 + _below_microseconds(text)


def _ago(text: str, where: str, now: datetime) -> int:
    try:
        return round((now.timestamp() - seconds(text, where)) * 10**6) * 1000
    except DefinitionError:
        message = f"{where}: {text!r} is not a valid time"
        raise DefinitionError(message, key=where, hint="Examples: 10m (ago), 2026-11-21T08:00:00Z.") from None


def _cut(text: str) -> str:
    """Cut the fraction of a second to what Python can read: nine digits are too many."""
    return re.sub(r"(\.\d{6})\d+", r"\1", text)


def _below_microseconds(text: str) -> int:
    found = re.search(r"\.\d{6}(\d{1,3})", text)
    return int(found[1].ljust(3, "0")) if found else 0
