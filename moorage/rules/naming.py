"""Names of stacks: which are valid, and how they are derived. Pure: nothing here reads a disk."""

from __future__ import annotations

import re
import unicodedata
from hashlib import sha256
from pathlib import Path

from moorage.errors import DefinitionError

LONGEST = 48
"""Longest name in characters: `<name>_default` and `<name>-<service>-1` stay well within the engine's limits."""
_ALLOWED = re.compile(rf"[a-z0-9][a-z0-9_-]{{0,{LONGEST - 1}}}")
_NAMELESS = "stack"
_HASH_DIGITS = 6
_SHOWN = 60


def validate_name(name: str) -> str:
    """The name itself when it is `[a-z0-9][a-z0-9_-]{0,47}`. Raises DefinitionError, with a name that would do."""
    if is_valid(name):
        return name
    raise DefinitionError(
        f"{_shown(name)} is not a valid stack name: lower-case letters, digits, `-` and `_`, a letter or digit first, "
        f"at most {LONGEST} characters",
        hint=f"Use `{slug(name)}`.",
        key="name",
    )


def is_valid(name: str) -> bool:
    """True: it is a name that a stack may have."""
    return _ALLOWED.fullmatch(name) is not None


def slug(text: str) -> str:
    """The valid name closest to any text; never raises.

    Accents are dropped, letters without an ASCII form and everything else become `-`, long names are cut; `stack` if
    nothing is left.
    """
    plain = unicodedata.normalize("NFKD", text.casefold())
    letters = "".join(character for character in plain if not unicodedata.combining(character))
    dashed = re.sub(r"-{2,}", "-", re.sub(r"[^a-z0-9_-]+", "-", letters.lower()))
    return _cut(dashed.lstrip("-_"), LONGEST) or _NAMELESS


def derived_name(directory: Path, repository: str | None, branch: str | None) -> str:
    """The name of a stack that was not given one.

    In a linked git worktree (`repository` and `branch` known) `<repository>-<branch>`; else the directory's name.
    """
    if repository and branch:
        return slug(f"{repository}-{branch}")
    return normalized(directory.name)


def normalized(text: str) -> str:
    """The name that Compose derives from that of a directory, or from `name:`; never raises.

    In lower case, without whatever is no ASCII letter, digit, `-` or `_`, and without what is left of those at the
    front. Where Compose refuses, because nothing is left, `stack`; where the name is too long, its beginning.
    """
    letters = re.sub(r"[^a-z0-9_-]", "", text.lower()).lstrip("-_")
    return letters if 0 < len(letters) <= LONGEST else _cut(letters, LONGEST) or _NAMELESS


def with_path_hash(name: str, directory: Path) -> str:
    """The name, cut to fit, with six hexadecimal digits of the path: for a name that another path already uses."""
    digits = sha256(str(directory).encode(errors="surrogatepass")).hexdigest()[:_HASH_DIGITS]
    return f"{_cut(slug(name), LONGEST - _HASH_DIGITS - 1)}-{digits}"


def _cut(name: str, length: int) -> str:
    return name[:length].rstrip("-_")


def _shown(name: str) -> str:
    return repr(name if len(name) <= _SHOWN else f"{name[:_SHOWN]}…")


def owner_lock(stack: str) -> str:
    """Name of the lock of the process that owns a stack (`moorage ci`); no stack has this name: it contains a dot."""
    return f"{stack}.process"
