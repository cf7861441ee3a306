"""Untrusted tar streams: read forward, member by member, with little memory."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable, Iterable, Iterator
from typing import Self

from moorage.errors import ArchiveError
from moorage.model.volume import ROOT, Contents

CHUNK = 1 << 18
BLOCK = 512
_LARGEST_HEADER = 1 << 20
_MOST_MEMBERS = 5_000_000
_SUM = 1 << 256
_HEADERS_OF_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_XATTR = "SCHILY.xattr."
Member = tuple[tarfile.TarInfo, Iterator[bytes]]


class _Header(tarfile.TarInfo):
    """A header with a size limit."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        found = super().frombuf(buf, encoding, errors)
        if found.size < 0 or (found.type in _HEADERS_OF_HEADERS and found.size > _LARGEST_HEADER):
            raise tarfile.HeaderError("header is too large")
        return found


class Forward:
    """A forward-only stream for tarfile, with the SHA-256 of everything read up to the last `settle`."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._at = 0
        self._pending = bytearray()
        self.digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes, fewer only at the end."""
        parts = []
        while size > 0 and (part := self._read(size)):
            parts.append(part)
            size -= len(part)
            self._at += len(part)
        found = b"".join(parts)
        self._pending += found
        return found

    def tell(self) -> int:
        """Number of bytes read."""
        return self._at

    def seek(self, offset: int) -> None:
        """Does nothing at the current position; anything else is an error."""
        if offset != self._at:
            raise tarfile.ReadError("the stream does not end where its headers say")

    def settle(self) -> None:
        """Add everything read so far to the digest."""
        self.digest.update(self._pending)
        self._pending.clear()


class Tally:
    """Checks and counts the members of a tar stream."""

    def __init__(self, prefixes: tuple[str, ...] = (ROOT,), limit_bytes: int | None = None) -> None:
        self.members = 0
        self.bytes = 0
        self._sum = 0
        self._seen: set[int] = set()
        self._links: set[str] = set()
        self._prefixes = prefixes
        self._limit_bytes = limit_bytes
        self._files: set[int] = set()

    def check(self, info: tarfile.TarInfo) -> None:
        """Refuse a dangerous member. Raises ArchiveError."""
        name = info.name
        if not _is_inside(name, self._prefixes):
            raise _refused(name, "leads out of the volume")
        if not (info.isreg() or info.isdir() or info.issym() or info.islnk() or info.isfifo()) or info.sparse:
            raise _refused(name, "is neither a file nor a folder nor a link")
        parts = name.split("/")
        if any("/".join(parts[:count]) in self._links for count in range(1, len(parts))):
            raise _refused(name, "lies behind a symbolic link")
        if info.islnk() and hash(info.linkname) not in self._files:
            raise _refused(name, "is a hard link to a missing file")
        if hash(name) in self._seen:
            raise _refused(name, "appears twice")
        self._seen.add(hash(name))
        if info.issym():
            self._links.add(name)
        elif info.isreg() or info.isfifo():
            self._files.add(hash(name))
        self.members += 1
        self.bytes += info.size
        if self.members > _MOST_MEMBERS:
            raise ArchiveError(f"more than {_MOST_MEMBERS} files", reason="too large")
        if self._limit_bytes is not None and self.bytes > self._limit_bytes:
            raise ArchiveError(
                f"it unpacks to more than {self._limit_bytes} bytes",
                reason="too large",
                hint="Free some space, or raise MOORAGE_ARCHIVE_LIMIT_BYTES if you trust it.",
            )

    def watch(self, info: tarfile.TarInfo, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Pass the content of a member on, and count it."""
        attributes = sorted((key, value) for key, value in info.pax_headers.items() if key.startswith(_XATTR))
        times = None if info.isdir() or info.issym() else int(info.mtime)
        facts = (info.name, info.type, info.mode & 0o7777, info.uid, info.gid, info.size, info.linkname)
        digest = hashlib.sha256(repr((*facts, times, attributes)).encode(errors="surrogateescape"))
        for chunk in chunks:
            digest.update(chunk)
            yield chunk
        self._sum = (self._sum + int.from_bytes(digest.digest(), "big")) % _SUM

    def contents(self, sha256: str = "") -> Contents:
        """The totals."""
        return Contents(members=self.members, bytes=self.bytes, digest=f"{self._sum:064x}", sha256=sha256)


def _is_inside(name: str, prefixes: tuple[str, ...]) -> bool:
    parts = name.split("/")
    harmless = all(part not in ("", ".", "..") for part in parts) and "\0" not in name
    return harmless and parts[0] in prefixes


def _refused(name: str, why: str) -> ArchiveError:
    return ArchiveError(f"{name[:200]!r} {why}", reason="unsafe", member=name[:200])


def members(forward: Forward) -> Iterator[Member]:
    """The members of a tar stream; the content of each is read before the next. Raises ArchiveError."""
    try:
        tar = tarfile.TarFile(fileobj=forward, mode="r", tarinfo=_Header, encoding="utf-8", errors="surrogateescape")  # type: ignore[arg-type]
        while (info := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined]  # else it remembers each of them
            content = _content(forward, info)
            yield info, content
            for _ in content:
                pass
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise ArchiveError(f"not a complete tar stream: {error}", reason="damaged") from None


def _content(forward: Forward, info: tarfile.TarInfo) -> Iterator[bytes]:
    left = info.size if info.isreg() else 0
    while left:
        chunk = forward.read(min(left, CHUNK))
        if not chunk:
            raise ArchiveError(f"it ends in the middle of {info.name[:200]!r}", reason="damaged")
        left -= len(chunk)
        forward.settle()
        yield chunk
    if info.isreg():
        forward.read(-info.size % BLOCK)


def stream_of(chunks: Iterable[bytes]) -> Forward:
    """Chunks, as sent by the engine, for `members`."""
    return Forward(Chunks(chunks).read)


class Chunks:
    """A readable file made of chunks."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")

    def read(self, size: int) -> bytes:
        """At most `size` bytes; none at the end."""
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self._rest = memoryview(chunk)
        found, self._rest = self._rest[:size], self._rest[size:]
        return bytes(found)


def packed(found: Iterable[Member]) -> Iterator[bytes]:
    """Members as a tar stream."""
    for info, content in found:
        yield header(info)
        yield from content
        yield b"\0" * (-info.size % BLOCK if info.isreg() else 0)
    yield b"\0" * BLOCK * 2


def header(info: tarfile.TarInfo) -> bytes:
    """A header in POSIX 2001 format, with long names, large numbers and attributes."""
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
