"""`init`: writes flows, tasks, blocks and prefect.yaml into a directory, for a team to own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path

from moorage import bounded
from moorage.errors import HomeError, MoorageError

_FOLDERS = ("flows", "tasks", "blocks")
_FILES = ("prefect.yaml",)


def template(name: str) -> str:
    """The compose file that a template begins with."""
    return (resources.files("moorage") / "templates" / f"{name}.yaml").read_text(encoding="utf-8")


def write_project(source: Path, target: Path, *, force: bool) -> list[str]:
    """Copy the project's files below `target`; gives their relative names.

    Raises MoorageError before anything is written if one of them is there with other content, unless `force`.
    """
    return write_files(
        {name: bounded.bytes_of(source / name, bounded.SETTINGS_BYTES) for name in _names(source)}, target, force=force
    )


def write_files(contents: Mapping[str, bytes], target: Path, *, force: bool) -> list[str]:
    """Write files below `target`; gives their relative names. Raises as `write_project`."""
    names = sorted(contents)
    changed = [name for name in names if _leads_away(target, name) or _differs(contents[name], target / name)]
    if changed and not force:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        message = f"{target / changed[0]}{more}: already exists, with other content"
        raise MoorageError(message, hint="Name another directory, or overwrite with --force.", files=changed)
    try:
        for name in names:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            if (target / name).is_symlink():
                (target / name).unlink()
            (target / name).write_bytes(contents[name])
    except OSError as error:
        message = f"{target}: {error.strerror or error}"
        raise HomeError(message, path=str(target), hint="Name a writeable directory.") from None
    return names


def _names(source: Path) -> Iterator[str]:
    yield from _FILES
    for folder in _FOLDERS:
        yield from (str(file.relative_to(source)) for file in (source / folder).rglob("*.py"))


def _leads_away(target: Path, name: str) -> bool:
    """True: the file, or a folder on the way to it, is a link: whoever made the directory would say what is written."""
    return any((target / part).is_symlink() for part in (Path(name), *Path(name).parents) if part != Path())


def _differs(ours: bytes, theirs: Path) -> bool:
    """True: there is something else. What cannot be read counts as something else."""
    try:
        return bounded.bytes_of(theirs, bounded.SETTINGS_BYTES) != ours
    except FileNotFoundError:
        return False
    except OSError:
        return True
