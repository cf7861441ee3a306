"""Untrusted tar streams: read forward, member by member, with little memory."""

from __future__ import annotations

import hashlib
import math
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator

from moorage.errors import ArchiveError
from moorage.model.volume import ROOT, Contents

CHUNK = 1 << 18
BLOCK = 512
_LARGEST_HEADER = 1 << 20
_MOST_MEMBERS = 5_000_000
_TRUSTED = "MOORAGE_ARCHIVE_LIMIT_BYTES and MOORAGE_ARCHIVE_RATIO set the limits, if you trust it."
_SUM = 1 << 256
_HEADERS_OF_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_MOST_HEADERS = 8
"""Most headers before a member: a long name, a long link and its attributes are three."""
_NOT_OURS = (tarfile.XGLTYPE, tarfile.GNUTYPE_SPARSE)
"""Neither an engine nor a snapshot has headers for all that follows, or the map of a sparse file."""
_PAX_LENGTH = re.compile(rb"([1-9][0-9]{0,9}) ")
_LONGEST_NAME = 4096
"""PATH_MAX of Linux: what is longer cannot be made."""
_XATTR = "SCHILY.xattr."
Member = tuple[tarfile.TarInfo, Iterator[bytes]]


class _Header(tarfile.TarInfo):
    """A header with limits: those that tarfile reads whole and without an end would take all memory, and hours."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        """The documented way in, of all versions of Python; `frombuf` is not called by all."""
        if self.size < 0 or self.type in _NOT_OURS:
            raise tarfile.HeaderError(f"header of type {self.type!r}")
        if self.type in _HEADERS_OF_HEADERS:
            chain = archive.__dict__.setdefault("headers_in_a_row", [])
            chain.append(self.size)
            if sum(chain) > _LARGEST_HEADER or len(chain) > _MOST_HEADERS:
                raise tarfile.HeaderError("header is too large")
        return super()._proc_member(archive)  # type: ignore[misc, no-any-return]

    def _proc_pax(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        """As in tarfile, but in linear time: that looks for a character set so that a MiB of digits takes hours.

        Names are UTF-8, or bytes that are kept as they are, whatever `hdrcharset` says.
        """
        stream: Forward = archive.fileobj  # type: ignore[assignment]
        content = stream.read(self.size + -self.size % BLOCK)[: self.size]
        headers = _pax_records(content)
        try:
            found = self.fromtarfile(archive)
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from None
        found._apply_pax_info(headers, "utf-8", "surrogateescape")  # type: ignore[attr-defined]  # noqa: SLF001
        found.offset = self.offset
        if "size" in headers:
            body = found.size + -found.size % BLOCK if found.isreg() else 0
            archive.offset = found.offset_data + body
        return found


def _pax_records(content: bytes) -> dict[str, str]:
    """The records of a header, `LENGTH KEY=VALUE` and a line end; see pax(1). Raises tarfile.HeaderError."""
    found: dict[str, str] = {}
    at = 0
    while at < len(content):
        length = _PAX_LENGTH.match(content, at)
        end = at + int(length[1]) if length else 0
        if length is None or not length.end() < end <= len(content) or content[end - 1 : end] != b"\n":
            raise tarfile.HeaderError("a record of its header is damaged")
        key, is_one, value = content[length.end() : end - 1].partition(b"=")
        if not is_one or key.startswith(b"GNU.sparse."):
            raise tarfile.HeaderError(f"record {key[:40]!r}")
        found[key.decode(errors="surrogateescape")] = value.decode(errors="surrogateescape")
        at = end
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

    def __init__(
        self, prefixes: tuple[str, ...] = (ROOT,), limit_bytes: int | None = None, most_members: int = _MOST_MEMBERS
    ) -> None:
        self.members = 0
        self.bytes = 0
        self._sum = 0
        self._seen: set[int] = set()
        self._links: set[int] = set()
        self._prefixes = prefixes
        self._limit_bytes = limit_bytes
        self._most_members = most_members
        self._files: set[int] = set()

    def check(self, info: tarfile.TarInfo) -> None:
        """Refuse a dangerous member. Raises ArchiveError."""
        name = info.name
        if max(len(name), len(info.linkname)) > _LONGEST_NAME:
            raise _refused(name, "is longer than any name can be")
        if info.size < 0 or not math.isfinite(info.mtime):
            raise _refused(name, "has no possible size or time")
        if not _is_inside(name, self._prefixes):
            raise _refused(name, "leads out of the volume")
        if not (info.isreg() or info.isdir() or info.issym() or info.islnk() or info.isfifo()) or info.sparse:
            raise _refused(name, "is neither a file nor a folder nor a link")
        parts = name.split("/")
        if self._links and any(hash("/".join(parts[:count])) in self._links for count in range(1, len(parts))):
            raise _refused(name, "lies behind a symbolic link")
        if info.islnk() and hash(info.linkname) not in self._files:
            raise _refused(name, "is a hard link to a missing file")
        if hash(name) in self._seen:
            raise _refused(name, "appears twice")
        self._seen.add(hash(name))
        if info.issym():
            self._links.add(hash(name))
        elif info.isreg() or info.isfifo():
            self._files.add(hash(name))
        self.members += 1
        self.bytes += info.size
        if self.members > self._most_members:
            raise ArchiveError(f"more than {self._most_members} files", reason="too large", hint=_TRUSTED)
        if self._limit_bytes is not None and self.bytes > self._limit_bytes:
            raise ArchiveError(
                f"it unpacks to more than {self._limit_bytes} bytes",
                reason="too large",
                hint=f"Free some space. {_TRUSTED}",
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
            tar.__dict__.pop("headers_in_a_row", None)
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
