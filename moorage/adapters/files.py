"""Files of `$MOORAGE_HOME`, and those that people ask for: private, and written whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from moorage import bounded
from moorage.errors import HomeError
from moorage.interfaces import Files
from moorage.interfaces.files import NOT_A_FILE

PRIVATE_FOLDER = 0o700
PRIVATE_FILE = 0o600
_UNFINISHED = ".unfinished-"
"""Prefix of files that are being written; a crash may leave one behind."""
_DEAD_S = 600.0
"""Who has been writing a file for so long is dead: they are small."""
_DEPTH = 3
"""In the root, its folders and their folders: no file of ours is deeper."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NOTHING = -1
_MOST_BYTES = 256 << 20
"""Most that is read of a file of ours: a generation of 500 services has 1 MiB."""
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class LocalFiles(Files):
    """Files below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, name: str, text: str) -> Path:
        """Readers see either the old text or the new one."""
        path = self._path(name)
        with home_errors(path):
            private_folder(path.parent)
            with _entered(path.parent) as folder:
                _replace(folder, path.name, text.encode(errors="backslashreplace"))
                _sync_folder(folder)
        return path

    def read(self, name: str) -> str | None:
        path = self._path(name)
        with home_errors(path):
            try:
                return bounded.bytes_of(path, _MOST_BYTES).decode(errors="replace")
            except bounded.NotAFileError:
                raise not_a_file(path) from None
            except (FileNotFoundError, NotADirectoryError):
                return None

    def remove(self, name: str) -> None:
        path = self._path(name)
        with home_errors(path), suppress(FileNotFoundError), self._inside(path.parent) as folder:
            if folder is not None:
                os.unlink(path.name, dir_fd=folder)

    def names(self, folder: str) -> Iterator[str]:
        found = sorted(entry.name for entry in self._entries(folder) if _is(entry.is_file))
        return (str(PurePosixPath(folder, name)) for name in found if not name.startswith(_UNFINISHED))

    def folders(self, folder: str) -> Iterator[str]:
        return iter(sorted(entry.name for entry in self._entries(folder) if _is(entry.is_dir)))

    def unfinished(self) -> Iterator[str]:
        patterns = [f"{'*/' * depth}{_UNFINISHED}*" for depth in range(_DEPTH)]
        with home_errors(self.root):
            found = [path for pattern in patterns for path in self.root.glob(pattern) if _is_dead(path)]
        return iter(sorted(str(path.relative_to(self.root)) for path in found))

    def drop(self, folder: str) -> None:
        path = self._path(folder)
        with home_errors(path):
            with self._inside(path) as opened:
                if opened is None:
                    return
                for name in os.listdir(opened):
                    with suppress(FileNotFoundError):
                        if not stat.S_ISDIR(os.stat(name, dir_fd=opened, follow_symlinks=False).st_mode):
                            os.unlink(name, dir_fd=opened)
            with suppress(FileNotFoundError, NotADirectoryError):
                try:
                    path.rmdir()
                except OSError as error:
                    if error.errno != errno.ENOTEMPTY:
                        raise

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        path = self._path(folder)
        with home_errors(path):
            try:
                with os.scandir(path) as entries:
                    return list(entries)
            except (FileNotFoundError, NotADirectoryError):
                return []

    @contextmanager
    def _inside(self, folder: Path) -> Iterator[int | None]:
        """A descriptor of a folder below the root; a link on the way is an error. None: there is no such folder."""
        try:
            descriptor = os.open(self.root, _FOLDER)
        except (FileNotFoundError, NotADirectoryError):
            yield None
            return
        try:
            for part in folder.relative_to(self.root).parts:
                below = _below(descriptor, part)
                os.close(descriptor)
                descriptor = below
                if below == _NOTHING:
                    break
            yield None if descriptor == _NOTHING else descriptor
        finally:
            if descriptor != _NOTHING:
                os.close(descriptor)

    def _path(self, name: str) -> Path:
        parts = PurePosixPath(name).parts
        if not parts or PurePosixPath(name).is_absolute() or ".." in parts or "\0" in name:
            raise HomeError(f"{name!r} does not name a file inside {self.root}", path=str(self.root))
        return self.root.joinpath(*parts)


def _below(folder: int, name: str) -> int:
    """A descriptor of a subfolder; `_NOTHING`: there is none. Raises OSError: it is a link."""
    try:
        return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
    except FileNotFoundError:
        return _NOTHING
    except NotADirectoryError:
        if stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            message = f"{name} is a link: nothing is removed behind it"
            raise OSError(errno.ELOOP, message) from None
        return _NOTHING


def _is(kind: Callable[[], bool]) -> bool:
    """False too for an entry that cannot be looked at: it must not hide the others."""
    try:
        return kind()
    except OSError:
        return False


def _is_dead(unfinished: Path) -> bool:
    """True: whoever began to write this file does so no more."""
    try:
        found = unfinished.stat(follow_symlinks=False)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_mtime < time.time() - _DEAD_S


def not_a_file(path: Path) -> HomeError:
    """The error for something at the place of a file."""
    hint = "Move it away: it is not Moorage's."
    return HomeError(f"{path}: it is not a regular file", hint=hint, path=str(path), reason=NOT_A_FILE)


def write_beneath(root: Path, name: str, text: str) -> Path:
    """Write a file below a folder that may not be ours alone: 0600, and without following links. Raises OSError.

    What is at the file's place is replaced, whatever it is a link to; a folder on the way to it that is a link is an
    error. Folders are made as needed, `root` too. Gives the file's path.
    """
    *folders, file = PurePosixPath(name).parts
    root.mkdir(parents=True, exist_ok=True)
    with _entered(root, *folders) as folder:
        _replace(folder, file, text.encode(errors="replace"))
    return root / name


@contextmanager
def made_beside(target: Path) -> Iterator[Path]:
    """An empty file, 0600, that takes the place of `target` at the end, if nothing is raised. Raises OSError.

    For what only writes to a path: the file is in a new folder beside the target that nobody else may enter, so that
    nobody can put a link in its place.
    """
    folder = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=target.parent))
    try:
        unfinished = folder / target.name
        os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE_FILE))
        yield unfinished
        unfinished.replace(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def private_folder(path: Path) -> None:
    """Create a folder that only its owner may enter; an existing one keeps its mode. Raises OSError."""
    if not path.is_dir():
        private_folder(path.parent)
        with suppress(FileExistsError):
            path.mkdir(mode=PRIVATE_FOLDER)


@contextmanager
def home_errors(path: Path) -> Iterator[None]:
    """Turn errors of the operating system on `path` into HomeError."""
    try:
        yield
    except OSError as error:
        raise home_error(path, error.strerror or str(error), error.errno) from error


def home_error(path: Path, reason: str, number: int | None = None) -> HomeError:
    """The HomeError for `path`; `number` is the operating system's error number, if there is one."""
    if number in _NO_SPACE:
        hint = f"Free some space on the file system of {path.parent}."
    else:
        hint = "Set MOORAGE_HOME to a folder on a local disk that you can write to."
    return HomeError(f"{path}: {reason}", hint=hint, path=str(path))


@contextmanager
def _entered(root: Path, *folders: str) -> Iterator[int]:
    """A descriptor of a folder below `root`: a link on the way there is an error. Folders are made as needed."""
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for folder in folders:
            with suppress(FileExistsError):
                os.mkdir(folder, dir_fd=descriptor)
            above = descriptor
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=descriptor)
            os.close(above)
        yield descriptor
    finally:
        os.close(descriptor)


def _replace(folder: int, name: str, content: bytes) -> None:
    """Put a new file, 0600, in the place of whatever has that name in a folder, given as its descriptor."""
    unfinished = f"{_UNFINISHED}{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(unfinished, flags, PRIVATE_FILE, dir_fd=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        os.replace(unfinished, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(unfinished, dir_fd=folder)
        raise


def _sync_folder(folder: int) -> None:
    """Make a rename in the folder survive a power cut."""
    # Some network file systems cannot do this; the file is in place anyway.
    with suppress(OSError):
        os.fsync(folder)
