"""Misspelt names: which one was meant."""

from __future__ import annotations

from collections.abc import Iterable

from moorage.errors import DefinitionError


def nearest(wanted: str, there: Iterable[str]) -> str | None:
    """The name that was most likely meant. None: none is near."""
    from difflib import get_close_matches  # costs the verbs that meet no error a millisecond

    known = list(there)
    plain = {name.casefold(): name for name in reversed(known)}
    found = get_close_matches(wanted.casefold(), list(plain), n=1)
    return plain[found[0]] if found else None


def did_you_mean(wanted: str, there: Iterable[str], what: str) -> str:
    """`Did you mean "web"?`; else all that there is: `Services: db, web.` for `what` = `Services`."""
    known = sorted(set(there))
    near = nearest(wanted, known)
    return f'Did you mean "{near}"?' if near else f"{what}: {', '.join(known) or 'none'}."


def no_service(name: str, there: Iterable[str], where: str = "", **fields: object) -> DefinitionError:
    """The error for a service that is not there. `where`: the stack's name, or an option; empty: neither."""
    message = f"{where}: no service {name!r}" if where else f"no service {name!r}"
    return DefinitionError(message, service=name, hint=did_you_mean(name, there, "Services"), **fields)
