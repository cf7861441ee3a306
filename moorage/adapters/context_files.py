"""The files that a build sees: all of its context but those that its ignore file names, within limits.

The rules are those of moby/patternmatcher, as BuildKit uses them: a pattern that a folder matches holds for all that is
in it, a later pattern wins over an earlier one, `!` takes in again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from docker.utils.build import Pattern
from docker.utils.fnmatch import translate

from moorage import bounded
from moorage.errors import DefinitionError
from moorage.rules.patterns import compiled, matchable

MOST_ENTRIES = 500_000
"""Most files and folders of a context; what is in a folder that is left out does not count."""
_TOO_MANY = "Name what the build does not need in .dockerignore, or name a smaller folder."
_OF_THE_KERNEL = frozenset(
    "binfmt_misc bpf cgroup cgroup2 configfs debugfs devpts devtmpfs efivarfs fusectl mqueue nsfs proc pstore "
    "securityfs selinuxfs sysfs tracefs".split()
)
"""File systems whose files are made when they are read: some wait, some never end, some do something."""


class _Rule(NamedTuple):
    """A pattern of an ignore file."""

    takes_in: bool
    """True: it began with `!`."""
    text: str
    expression: Any


def ignored(context: Path, dockerfile: str) -> list[str]:
    """Patterns of files that a build ignores: from `<Dockerfile>.dockerignore`, else `.dockerignore`.

    See Docker's documentation, "build context". Raises DefinitionError: the file is too large.
    """
    for file in (context / f"{dockerfile}.dockerignore", context / ".dockerignore"):
        if os.path.isfile(file):
            try:
                lines = bounded.text_of(file, errors="surrogateescape").splitlines()
            except OSError as error:
                raise _refused(
                    context, f"{file.name}: {error.strerror}", "Shorten it, or allow that it is read."
                ) from None
            return [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    return []


def files_in(context: Path, patterns: Sequence[str], kept: Sequence[str] = ()) -> list[str]:
    """Names of the files, folders and links of a context that no pattern excludes, in order; `kept` always count.

    Links are not followed. Raises DefinitionError: a pattern is none, a folder cannot be read, or there is no end.
    """
    rules = [*_rules(patterns, context), *(_rule(f"!{name}") for name in (*kept, ".dockerignore"))]
    kernel = _kernel_devices()
    found: list[str] = []
    entries = 0
    waiting: list[tuple[str, tuple[bool, ...]]] = [("", (False,) * len(rules))]
    while waiting:
        folder, above = waiting.pop()
        for entry in _entries(context, folder, kernel):
            entries += 1
            if entries > MOST_ENTRIES:
                raise _refused(context, f"more than {MOST_ENTRIES} files", _TOO_MANY)
            name = f"{folder}{entry.name}"
            matching = _matching(rules, matchable(name), above)
            excluded = _is_excluded(rules, matching)
            if not excluded:
                found.append(name)
            if entry.is_dir(follow_symlinks=False) and not (excluded and _can_be_skipped(rules, name)):
                waiting.append((f"{name}/", matching))
    return sorted(found)


def _rules(patterns: Sequence[str], context: Path) -> Iterator[_Rule]:
    for pattern in patterns:
        try:
            rule = _rule(pattern)
        except ValueError as error:
            raise _refused(context, f".dockerignore: {pattern[:80]!r}: {error}", "Mend or remove the line.") from None
        if rule.text:
            yield rule


def _rule(pattern: str) -> _Rule:
    read = Pattern(pattern)
    return _Rule(read.exclusion, read.cleaned_pattern, compiled(f"(?s){translate(matchable(read.cleaned_pattern))}"))


def _matching(rules: Sequence[_Rule], name: str, above: tuple[bool, ...]) -> tuple[bool, ...]:
    """For each rule whether the name matches, or a folder above it does."""
    return tuple(
        matched or rule.expression.search(name) is not None for rule, matched in zip(rules, above, strict=True)
    )


def _is_excluded(rules: Sequence[_Rule], matching: tuple[bool, ...]) -> bool:
    last = next((rule for rule, matched in zip(reversed(rules), reversed(matching), strict=True) if matched), None)
    return last is not None and not last.takes_in


def _can_be_skipped(rules: Sequence[_Rule], folder: str) -> bool:
    """True unless a later rule may take in something that is in the folder."""
    return not any(rule.takes_in and _may_be_in(rule.text, folder) for rule in rules)


def _may_be_in(pattern: str, folder: str) -> bool:
    """Whether a pattern may match something in a folder, by its beginning up to the first special character."""
    plain = pattern[: next((at for at, one in enumerate(pattern) if one in "*?["), len(pattern))]
    inside = f"{folder}/"
    return inside.startswith(plain) if plain != pattern else plain.startswith(inside)


def _entries(context: Path, folder: str, kernel: frozenset[int]) -> list[os.DirEntry[str]]:
    path = context / folder
    try:
        if kernel and path.stat().st_dev in kernel:
            raise _refused(context, f"{path} holds no files, but what the kernel says", "Name a folder of your own.")
        with os.scandir(path) as entries:
            return list(entries)
    except FileNotFoundError:  # gone in the meantime
        return []
    except OSError as error:
        hint = "Name it in .dockerignore, or allow that it is read."
        raise _refused(context, f"{path}: {error.strerror}", hint) from None


def _kernel_devices() -> frozenset[int]:
    """The devices that are no disks, see proc_pid_mountinfo(5). Empty: this is not Linux."""
    try:
        lines = bounded.text_of(Path("/proc/self/mountinfo"), bounded.SETTINGS_BYTES).splitlines()
        fields = [line.split() for line in lines]
        found = [(one[2].partition(":"), one[one.index("-") + 1]) for one in fields]
    except (OSError, ValueError, IndexError):
        return frozenset()
    return frozenset(os.makedev(int(major), int(minor)) for (major, _, minor), kind in found if kind in _OF_THE_KERNEL)


def _refused(context: Path, what: str, hint: str) -> DefinitionError:
    return DefinitionError(f"build.context: {context}: {what}", key="build.context", file=str(context), hint=hint)
