"""Names of stacks: what is allowed, and how one is derived. Pure: nothing here looks at a disk."""

from __future__ import annotations

import re
import unicodedata
from hashlib import sha256
from pathlib import Path

from moorage.errors import DefinitionError

LONGEST = 48
"""Characters of the longest name: `<name>_default` and `<name>-<service>-1` stay well inside the engine's limits."""
_ALLOWED = re.compile(rf"[a-z0-9][a-z0-9_-]{{0,{LONGEST - 1}}}")
_NAMELESS = "stack"
_HASH_DIGITS = 6
_SHOWN = 60


def validate_name(name: str) -> str:
    """The name itself when it is `[a-z0-9][a-z0-9_-]{0,47}`. Raises DefinitionError, with a name that would do."""
    if _ALLOWED.fullmatch(name):
        return name
    raise DefinitionError(
        f"{_shown(name)} is not a name for a stack: lower-case letters, digits, `-` and `_`, a letter or digit first, "
        f"at most {LONGEST} characters",
        hint=f"Use `{slug(name)}`.",
        key="name",
    )


def slug(text: str) -> str:
    """The allowed name nearest to any text; never raises.

    Accents are dropped, letters without an ASCII form and everything else become `-`, what is too long is cut;
    `stack` when nothing is left.
    """
    plain = unicodedata.normalize("NFKD", text.casefold())
    letters = "".join(character for character in plain if not unicodedata.combining(character))
    dashed = re.sub(r"-{2,}", "-", re.sub(r"[^a-z0-9_-]+", "-", letters.lower()))
    return _cut(dashed.lstrip("-_"), LONGEST) or _NAMELESS


def derived_name(directory: Path, repository: str | None, branch: str | None) -> str:
    """The name of a stack that was given none.

    In a linked git worktree (`repository` and `branch` known) `<repository>-<branch>`; else that of the directory.
    """
    if repository and branch:
        return slug(f"{repository}-{branch}")
    return slug(directory.name)


def with_path_hash(name: str, directory: Path) -> str:
    """The name, cut to fit, with six hexadecimal digits of the path: for a name that another path has taken."""
    digits = sha256(str(directory).encode(errors="surrogatepass")).hexdigest()[:_HASH_DIGITS]
    return f"{_cut(slug(name), LONGEST - _HASH_DIGITS - 1)}-{digits}"


def _cut(name: str, length: int) -> str:
    return name[:length].rstrip("-_")


def _shown(name: str) -> str:
    return repr(name if len(name) <= _SHOWN else f"{name[:_SHOWN]}…")


def owner_lock(stack: str) -> str:
    """The lock of the process that a stack lives with (`moorage ci`); no stack's own: their names have no dot."""
    return f"{stack}.process"
