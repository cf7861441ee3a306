"""What is wrong with how a command took something hostile."""

from __future__ import annotations

from collections.abc import Collection

from tests.hostile.measured import MOST_CPU_S, MOST_MEMORY_MIB, Taken

BAD_INPUT = (2, 3)
"""A definition or a snapshot that cannot be read, or a key that is not supported: see docs/troubleshooting.md."""
_LONGEST_COMPLAINT = 20_000
_ESCAPES = ("\x1b", "\u202e", "\x07")


def wrong(taken: Taken, allowed: Collection[int]) -> list[str]:
    """Complaints about exit code, sentence, CPU, memory and what stays. Empty: all is well."""
    found = []
    if taken.code not in allowed:
        found.append(f"exit code {taken.code}: {taken.err[-600:]!r}")
    if taken.code in BAD_INPUT and not _without_notes(taken.err).startswith("error: "):
        found.append(f"no sentence: {taken.err[:300]!r}")
    if "Traceback" in taken.err:
        found.append("a traceback")
    if any(sign in taken.err + taken.out for sign in _ESCAPES):
        found.append("an escape sequence")
    if len(taken.err) > _LONGEST_COMPLAINT:
        found.append(f"{len(taken.err)} characters of complaints")
    if taken.cpu_s > MOST_CPU_S:
        found.append(f"{taken.cpu_s:.1f} s of CPU")
    if taken.memory_mib > MOST_MEMORY_MIB:
        found.append(f"{taken.memory_mib:.0f} MiB")
    return found + [f"left {one}" for one in taken.left]


def _without_notes(said: str) -> str:
    """A busy machine is told of before the error is."""
    return "".join(line for line in said.splitlines(keepends=True) if not line.startswith("note: waiting: "))
