"""Snapshots on disk: `tar.zst` files with a manifest at the beginning and checksums at the end.

    moorage.json            the manifest
    moorage-volume/…        the files; or postgres/…: parts of dumps
    moorage-end.json        how many members there were, and their SHA-256

Read and written as streams: neither a volume nor the list of its files is held in memory. Invalid files are refused: a
name that leads elsewhere, a device, a duplicate name, a header that needs much memory.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from pydantic import ValidationError

from moorage import bounded
from moorage.errors import ArchiveError
from moorage.model.volume import ROOT, Contents, Manifest, Snapshot
from moorage.rules.excerpts import quoted
from moorage.work.volumes.tar import BLOCK, CHUNK, Chunks, Forward, Member, Tally, header, members

MANIFEST = "moorage.json"
END = "moorage-end.json"
_DUMPS = "postgres"
_LARGEST_NOTE = 1 << 20
"""Manifest and end are read into memory."""
_LARGEST_WINDOW = 1 << 27
_READ_IN_SECONDS = 4 << 30
_MEMBERS_IN_SECONDS = 400_000
_BLOCKS = 16_000
"""At a ratio of 1000, an empty file has to take 16 bytes of the snapshot."""


class Writer:
    """Writes a snapshot to a temporary file; `finish` moves it into place. Overwrites nothing without `force`."""

    def __init__(self, target: Path, manifest: Manifest, *, run: str, force: bool = False) -> None:
        self.target = target
        self.manifest = manifest
        self.unfinished = unfinished(target, run)
        self._force = force
        self.tally = Tally((ROOT, _DUMPS))
        self._digest = hashlib.sha256()

    def __enter__(self) -> Self:
        import zstandard

        refuse_existing(self.target, force=self._force)
        self._file = _Hashing(_new(self.unfinished))
        self._zstd = zstandard.ZstdCompressor(level=3, write_checksum=True).stream_writer(self._file, closefd=False)  # type: ignore[arg-type]
        self._note(MANIFEST, self.manifest.model_dump_json(indent=1))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()
        with suppress(FileNotFoundError):
            self.unfinished.unlink()

    def add(self, info: tarfile.TarInfo, content: Iterable[bytes]) -> None:
        """Write one member. Raises ArchiveError if it could not be restored."""
        self.tally.check(info)
        self._write(header(info))
        for chunk in self.tally.watch(info, content):
            self._write(chunk)
        self._write(b"\0" * (-info.size % BLOCK if info.isreg() else 0))

    def add_stream(self, name: str, chunks: Iterable[bytes]) -> None:
        """Write a stream of unknown length as members `name.000000`, `name.000001` and so on."""
        pool = Chunks(chunks)
        number = 0
        while part := _up_to(pool, 16 * CHUNK):
            info = tarfile.TarInfo(f"{_DUMPS}/{name}.{number:06}")
            info.size, info.mode = len(part), 0o600
            self.add(info, [part])
            number += 1

    def finish(self) -> Snapshot:
        """Write the end, sync the file, and move it into place. Raises ArchiveError: the file exists by now."""
        contents = self.tally.contents(self._digest.hexdigest())
        self._note(END, contents.model_dump_json(indent=1))
        self._write(b"\0" * BLOCK * 2)
        self._zstd.close()  # type: ignore[no-untyped-call]
        self._file.sync()
        _put_in_place(self.unfinished, self.target, force=self._force)
        sha256 = self._file.digest.hexdigest()
        _write_checksum(self.target, self.unfinished, sha256)
        return Snapshot(
            path=str(self.target),
            size_bytes=self._file.size,
            sha256=sha256,
            manifest=self.manifest,
            contents=contents,
        )

    def _note(self, name: str, text: str) -> None:
        content = text.encode()
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(content), 0o600
        info.mtime = int(self.manifest.created_at.timestamp())
        self._write(header(info) + content + b"\0" * (-len(content) % BLOCK))

    def _write(self, data: bytes) -> None:
        self._digest.update(data)
        self._zstd.write(data)


def _up_to(pool: Chunks, size: int) -> bytes:
    found = bytearray()
    while len(found) < size and (part := pool.read(size - len(found))):
        found += part
    return bytes(found)


class _Hashing:
    """A file that computes its SHA-256."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self.size += len(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    def sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def unfinished(target: Path, run: str) -> Path:
    """Where a run writes an incomplete snapshot; a crash may leave it behind."""
    return target.with_name(f".{target.name}.{run}.unfinished")


def remove_unfinished(path: Any, run: str) -> None:
    """Remove what `unfinished` names, by a path that was written down; no error if it is gone. Raises ArchiveError."""
    file = Path(path) if isinstance(path, str) and "\0" not in path else Path()
    ending = f".{run}.unfinished"
    named = file.name.startswith(".") and file.name.endswith(ending) and len(file.name) > len(ending) + 1
    if not file.is_absolute() or ".." in file.parts or not named:
        message = f"{quoted(path, 200)} is not the unfinished file of a snapshot; nothing was removed"
        raise ArchiveError(message, reason="unsafe", hint="Look at it, and remove it yourself if it is one.")
    with suppress(FileNotFoundError, NotADirectoryError):
        if not stat.S_ISREG(file.lstat().st_mode):
            message = f"{file} is not a regular file; nothing was removed"
            raise ArchiveError(message, reason="unsafe", hint="Look at it, and remove it yourself.")
        file.unlink()


def checksum_file(target: Path) -> Path:
    """The checksum file of a snapshot, in the format of `sha256sum --check`."""
    return target.with_name(f"{target.name}.sha256")


def discard(target: Path, run: str) -> None:
    """Remove a safety snapshot with its companion files."""
    for file in (target, checksum_file(target), unfinished(target, run)):
        file.unlink(missing_ok=True)


def refuse_existing(target: Path, *, force: bool) -> None:
    """Raises ArchiveError if the path is taken."""
    if target.is_dir() or (target.exists() and not force):
        what = "is a folder" if target.is_dir() else "already exists"
        raise ArchiveError(f"{target} {what}", reason="exists", path=str(target), hint="--force overwrites a file.")
    if not target.parent.is_dir():
        raise ArchiveError(f"{target.parent} is not a folder", reason="no folder", path=str(target))


def _put_in_place(unfinished_file: Path, target: Path, *, force: bool) -> None:
    with suppress(FileNotFoundError):
        if force:
            checksum_file(target).unlink()  # it would be that of another file
    if force:
        unfinished_file.replace(target)
    else:
        try:
            os.link(unfinished_file, target)
        except FileExistsError:
            raise ArchiveError(f"{target} already exists", reason="exists", hint="--force overwrites it.") from None
        except OSError:  # a file system without hard links
            refuse_existing(target, force=False)
            unfinished_file.replace(target)
    descriptor = os.open(target.parent, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_checksum(target: Path, unfinished_file: Path, sha256: str) -> None:
    with _new(unfinished_file) as file:
        file.write(f"{sha256}  {target.name}\n".encode())
    unfinished_file.replace(checksum_file(target))


def _new(file: Path) -> BinaryIO:
    """A new file, 0600: the folder may be one that others write to, so nothing that is there is opened or followed."""
    file.unlink(missing_ok=True)
    return os.fdopen(os.open(file, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY, 0o600), "wb")


class Reader:
    """Reads a snapshot; call `verify` first, which reads all of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._verified: Snapshot | None = None

    def __enter__(self) -> Self:
        try:
            self._file = bounded.open_file(self.path)
        except OSError as error:
            raise self._unreadable(error) from None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def verify(self, limit_bytes: int | None = None, most_ratio: int | None = None) -> Snapshot:
        """Read the whole file. Raises ArchiveError: it is incomplete, or must not be unpacked.

        `most_ratio`: how many bytes may come of one, where that takes more than seconds. None: it is our own.
        """
        try:
            size = os.fstat(self._file.fileno()).st_size
            tally = _tally(size, limit_bytes, most_ratio)
            found: dict[str, Any] = {}
            for info, content in self._members(found):
                tally.check(info)
                for _ in tally.watch(info, content):
                    pass
            self._refuse_rest(size)
            self._verified = self._judge(found, tally, self._sum_of_file(), size)
        except ArchiveError as error:
            error.args = (f"{self.path}: {error}",)
            raise error.with_fields(path=str(self.path)) from None
        except OSError as error:
            raise self._unreadable(error) from None
        return self._verified

    def members(self) -> Iterator[Member]:
        """The members again, for unpacking. Raises ArchiveError at the end if the file has changed."""
        assert self._verified is not None, "verify comes first"  # noqa: S101
        tally = Tally((ROOT, _DUMPS))
        for info, content in self._members({}):
            tally.check(info)
            watched = tally.watch(info, content)
            yield info, watched
            for _ in watched:  # skipped members count too
                pass
        if tally.contents().digest != self._verified.contents.digest:
            raise ArchiveError(f"{self.path} has changed while it was read", path=str(self.path), reason="changed")

    def _unreadable(self, error: OSError) -> ArchiveError:
        return ArchiveError(f"{self.path}: {error.strerror}", path=str(self.path), reason="unreadable")

    def _refuse_rest(self, size: int) -> None:
        """A file that goes on after its last frame may be a terabyte, and its sum would be asked for."""
        if self._file.tell() < size:
            raise ArchiveError("there is data after its end", reason="damaged")

    def stream(self, name: str) -> Iterator[bytes]:
        """The content of `postgres/NAME.…`, its parts in order."""
        for info, content in self.members():
            if info.name.rpartition(".")[0] == f"{_DUMPS}/{name}":
                yield from content

    def _sum_of_file(self) -> str:
        """SHA-256 of a file that is known to have an end. Raises ArchiveError if the file beside it says otherwise."""
        self._file.seek(0)
        sha256 = hashlib.file_digest(self._file, "sha256").hexdigest()
        try:
            said = bounded.text_of(checksum_file(self.path)).split()
        except OSError:
            return sha256
        if said and said[0].lower() != sha256:
            message = f"its checksum is {sha256}, not {said[0][:64]} as {checksum_file(self.path).name} says"
            raise ArchiveError(message, reason="damaged")
        return sha256

    def _members(self, found: dict[str, Any]) -> Iterator[Member]:
        """All members except ours, which are put into `found`."""
        import zstandard

        self._file.seek(0)
        decompressor = zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW)
        try:
            with decompressor.stream_reader(self._file, closefd=False) as opened:
                forward = Forward(opened.read)
                for info, content in members(forward):
                    if info.name == END:
                        sha256 = forward.digest.hexdigest()  # of everything before it: its own content is not read yet
                        found[END] = (_small(info, content), sha256)
                        _refuse_more(forward)
                        return
                    forward.settle()
                    if info.name == MANIFEST and MANIFEST not in found:
                        found[MANIFEST] = _small(info, content)
                    else:
                        yield info, content
                    for _ in content:
                        pass
                    forward.settle()
        except zstandard.ZstdError as error:
            raise ArchiveError(f"not a complete zstd file: {error}", reason="damaged") from None

    def _judge(self, found: dict[str, Any], tally: Tally, sha256: str, size: int) -> Snapshot:
        if MANIFEST not in found:
            raise ArchiveError("it is not a snapshot of Moorage", reason="damaged")
        if END not in found:
            raise ArchiveError("it ends too early", reason="damaged")
        try:
            manifest = Manifest.model_validate_json(found[MANIFEST])
            said = Contents.model_validate_json(found[END][0])
        except ValidationError:
            raise ArchiveError("its manifest cannot be read", reason="damaged") from None
        if said != tally.contents(found[END][1]):
            raise ArchiveError("its content does not match its checksum", reason="damaged")
        return Snapshot(path=str(self.path), size_bytes=size, sha256=sha256, manifest=manifest, contents=said)


def _tally(size: int, limit_bytes: int | None, most_ratio: int | None) -> Tally:
    """Counts the members of a file of this size, within the limits."""
    if most_ratio is None:
        return Tally((ROOT, _DUMPS), limit_bytes)
    of_size = max(_READ_IN_SECONDS, size * most_ratio)
    members = max(_MEMBERS_IN_SECONDS, size * most_ratio // _BLOCKS)
    return Tally((ROOT, _DUMPS), of_size if limit_bytes is None else min(limit_bytes, of_size), members)


def _refuse_more(forward: Forward) -> None:
    """Only zeros may follow; reading them all makes zstd compare its own checksum."""
    rest = forward.read(1 << 16)
    if rest.strip(b"\0") or len(rest) == 1 << 16:
        raise ArchiveError("there is data after its end", reason="damaged")


def _small(info: tarfile.TarInfo, content: Iterable[bytes]) -> bytes:
    if not info.isreg() or info.size > _LARGEST_NOTE:
        raise ArchiveError(f"{info.name} is not valid", reason="damaged")
    return b"".join(content)
