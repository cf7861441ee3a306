"""Environment variables, quoted for a shell or a dotenv file."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

_PLAIN = re.compile(r"[A-Za-z0-9_./:@%+,=-]*")
_SPECIAL = re.compile(r'([\\"$])')


def shell_text(variables: Mapping[str, str]) -> str:
    """`export` lines for a POSIX shell."""
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items())


def dotenv_text(variables: Mapping[str, str]) -> str:
    """Lines of a dotenv file that Compose can read back: in double quotes if a value contains special characters."""
    return "\n".join(f"{name}={_dotenv(value)}" for name, value in variables.items())


def _dotenv(value: str) -> str:
    if _PLAIN.fullmatch(value):
        return value
    quoted = _SPECIAL.sub(r"\\\1", value).replace("\n", "\\n").replace("\r", "\\r")
    return f'"{quoted}"'
