"""Hostile snapshots: 80 made by hand, and as many more as one asks for, made from a seed.

Each is a function that writes a file, and what it needs beside it, at a path.
"""

from __future__ import annotations

import io
import json
import os
import random
import struct
import tarfile
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import zstandard

from moorage.model.volume import ROOT, Kind, Manifest
from moorage.work.volumes.archive import Writer
from moorage.work.volumes.tar import Tally

MANIFEST = Manifest(kind=Kind.FILES, stack="hostile", volume="data", created_at=datetime(2026, 1, 1, tzinfo=UTC))
Layout = Callable[[Path], None]
BLOCK = 512


def member(name: str, content: bytes = b"", **facts: Any) -> bytes:
    """One member as it stands in a tar: header, content, padding."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in facts.items():
        setattr(info, key, value)
    return raw(info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"), content)


def raw(header: bytes, content: bytes = b"") -> bytes:
    return header + content + b"\0" * (-len(content) % BLOCK)


def forced(
    name: bytes = b"x", kind: bytes = b"0", size: int = 0, content: bytes | None = None, **fields: bytes
) -> bytes:
    """A member whose header says what nobody would write; its sum is right."""
    header = bytearray(tarfile.TarInfo("x").tobuf(tarfile.USTAR_FORMAT))
    header[0:100] = name[:100].ljust(100, b"\0")
    header[124:136] = (b"%011o\0" % size) if size < 1 << 33 else b"\x80" + size.to_bytes(11, "big")
    header[156:157] = kind
    for field, value in fields.items():
        start, end = {
            "mode": (100, 108),
            "uid": (108, 116),
            "length": (124, 136),
            "mtime": (136, 148),
            "link": (157, 257),
            "rest": (257, 512),
        }[field]
        header[start:end] = value[: end - start].ljust(end - start, b"\0")
    return raw(summed(header), content or b"")


def summed(header: bytearray) -> bytes:
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def pax(records: bytes, kind: bytes = b"x") -> bytes:
    return forced(b"pax", kind, len(records), records)


def record(key: str, value: str) -> bytes:
    body = f" {key}={value}\n".encode(errors="surrogateescape")
    length = len(body)
    while len(str(length)) + len(body) != length:
        length = len(str(length)) + len(body)
    return str(length).encode() + body


FIRST = member("moorage.json", MANIFEST.model_dump_json().encode())
FOLDER = member(ROOT, type=tarfile.DIRTYPE, mode=0o755)


def ended(body: bytes, said: dict[str, Any] | None = None) -> bytes:
    """Manifest, body and an end whose sums are those of the members, as an attacker would write them."""
    tally = Tally(("",))
    tally.check = lambda _info: None  # type: ignore[method-assign]
    count = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(body + b"\0" * 1024), errors="surrogateescape") as tar:
            for info in tar:
                count += 1
                list(tally.watch(info, [tar.extractfile(info).read()] if info.isreg() else []))  # type: ignore[union-attr]
    except Exception:  # noqa: BLE001 - a body that nobody can read
        count = 1
    end = said if said is not None else {**tally.contents("0" * 64).model_dump(mode="json"), "members": count}
    return FIRST + body + member("moorage-end.json", json.dumps(end).encode()) + b"\0" * 1024


def packed(tar: bytes) -> Layout:
    return lambda path: path.write_bytes(zstandard.compress(tar)) and None


def of(*members: bytes) -> Layout:
    return packed(FIRST + FOLDER + b"".join(members) + member("moorage-end.json", b"{}") + b"\0" * 1024)


def as_written(*members: bytes) -> Layout:
    return packed(ended(FOLDER + b"".join(members)))


def bytes_only(content: bytes) -> Layout:
    return lambda path: path.write_bytes(content) and None


def zeros(total: int, before: bytes) -> Iterator[bytes]:
    """A zstd frame of `before` and then zeros, four bytes for each 128 KiB: see RFC 8878, 3.1.1."""
    block = 1 << 17
    yield struct.pack("<IBB", 0xFD2FB528, 0, 7 << 3)  # a window of 128 KiB
    for at in range(0, len(before), block):
        piece = before[at : at + block]
        yield struct.pack("<I", len(piece) << 3)[:3] + piece
    yield (struct.pack("<I", (block << 3) | 2)[:3] + b"\0") * (total // block)
    yield struct.pack("<I", 1)[:3]


def bomb(total: int, before: bytes) -> Layout:
    return lambda path: path.write_bytes(b"".join(zeros(total, before))) and None


def valid(path: Path, files: Iterable[tuple[str, bytes]] = (("a", b"x" * 3000), ("b", b""))) -> None:
    """What Moorage itself writes."""
    with Writer(path, MANIFEST, run="r1") as writer:
        writer.add(_info(ROOT, b"", type=tarfile.DIRTYPE), [])
        for name, content in files:
            writer.add(_info(f"{ROOT}/{name}", content), [content])
        writer.finish()


def _info(name: str, content: bytes, **facts: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in facts.items():
        setattr(info, key, value)
    return info


def beside(change: Callable[[Path], None]) -> Layout:
    """A valid snapshot with another checksum file."""

    def make(path: Path) -> None:
        valid(path)
        checksum = path.with_name(f"{path.name}.sha256")
        checksum.unlink()
        change(checksum)

    return make


def spoilt(change: Callable[[bytes], bytes]) -> Layout:
    def make(path: Path) -> None:
        valid(path)
        path.write_bytes(change(path.read_bytes()))
        path.with_name(f"{path.name}.sha256").unlink()

    return make


def hole(size: int) -> Layout:
    def make(path: Path) -> None:
        path.touch()
        os.truncate(path, size)

    return make


def grown(path: Path) -> None:
    valid(path)
    os.truncate(path, 1 << 40)


def with_hole(path: Path) -> None:
    path.write_bytes(zstandard.compress(FIRST + FOLDER)[:60])
    os.truncate(path, 1 << 40)


def crowd(count: int) -> Layout:
    """So many empty files: a header each, made from one."""

    def make(path: Path) -> None:
        with path.open("wb") as file, zstandard.ZstdCompressor(level=1).stream_writer(file) as out:
            out.write(FIRST + FOLDER)
            header = bytearray(tarfile.TarInfo(f"{ROOT}/{0:08}").tobuf(tarfile.USTAR_FORMAT))
            start, base = len(ROOT) + 1, sum(header) - sum(header[148:156]) + 8 * 32 - 8 * 48
            for number in range(count):
                digits = b"%08d" % number
                header[start : start + 8] = digits
                header[148:156] = b"%06o\0 " % (base + sum(digits))
                out.write(bytes(header))

    return make


def by_hand() -> dict[str, Layout]:
    file = f"{ROOT}/a"
    chain = member(f"{ROOT}/{'n' * 300}", b"")
    return {
        # no archive
        "nothing": bytes_only(b""),
        "one byte": bytes_only(b"\x28"),
        "noise": bytes_only(random.Random(3).randbytes(1 << 20)),
        "only the magic": bytes_only(struct.pack("<I", 0xFD2FB528)),
        "a skippable frame without end": bytes_only(struct.pack("<II", 0x184D2A50, 0xFFFFFFFF) + b"x" * 1000),
        "ten thousand skippable frames": bytes_only(struct.pack("<II", 0x184D2A50, 0) * 10_000),
        "a window of gigabytes": bytes_only(struct.pack("<IBB", 0xFD2FB528, 0, 21 << 3) + b"\1\0\0"),
        "a size that is a lie": bytes_only(struct.pack("<IBQ", 0xFD2FB528, 0xE0, 1 << 62) + b"\1\0\0"),
        "an unknown dictionary": bytes_only(struct.pack("<IBBI", 0xFD2FB528, 3, 0x58, 12345) + b"\1\0\0"),
        "a pipe": os.mkfifo,
        "a device": lambda path: path.symlink_to("/dev/zero"),
        "a folder": Path.mkdir,
        "a circle of links": lambda path: path.symlink_to(path.name),
        "kernel memory": lambda path: path.symlink_to("/proc/self/mem"),
        "a terabyte of nothing": hole(1 << 40),
        "a terabyte that begins well": with_hole,
        "a terabyte behind a good one": grown,
        # bombs
        "a hundred gigabytes of zeros": bomb(100 << 30, FIRST + FOLDER + forced(file.encode(), b"0", 100 << 30)),
        "a terabyte of zeros": bomb(1 << 40, FIRST + FOLDER + forced(file.encode(), b"0", 1 << 40)),
        "zeros before the manifest": bomb(100 << 30, b""),
        "zeros behind the end": bomb(50 << 30, ended(FOLDER)),
        "zeros where a file should be": bomb(3 << 30, FIRST + FOLDER + forced(file.encode(), b"0", 2 << 30)),
        "half a million files": crowd(450_000),
        "a manifest of a gigabyte": bomb(1 << 30, forced(b"moorage.json", b"0", 1 << 30)),
        "an end of a gigabyte": bomb(1 << 30, FIRST + FOLDER + forced(b"moorage-end.json", b"0", 1 << 30)),
        # headers
        "a header of a terabyte": of(forced(b"x", b"x", 1 << 40)),
        "a header of two megabytes": of(pax(record("comment", "c" * (2 << 20)))),
        "a long name of a terabyte": of(forced(b"x", b"L", 1 << 40)),
        "a negative size": of(forced(file.encode(), length=b"\xff" * 12)),
        "digits without end": of(pax(b"1" * 900_000)),
        "records of digits": of(*(pax(record("comment", "1" * 400_000)) + member(f"{file}{n}") for n in range(40))),
        "record of no length": of(pax(b"0 a=b\n")),
        "record longer than its header": of(pax(b"99999 a=b\n")),
        "record without a sign": of(pax(b"7 abcd\n")),
        "a chain of attributes": of(*(pax(record("comment", "x")) for _ in range(3000)), member(file)),
        "a chain of long names": of(*(forced(b"x", b"L", 2, b"n\0") for _ in range(3000)), member(file)),
        "a chain of links": of(*(forced(b"x", b"K", 2, b"n\0") for _ in range(3000)), member(file)),
        "a chain of both": of(
            *(pax(record("a", "b")) + forced(b"x", b"L", 2, b"n\0") for _ in range(1500)), member(file)
        ),
        "headers for all": of(*(pax(record(f"k{n}", "v" * 900), b"g") + member(f"{file}{n}") for n in range(2000))),
        "Solaris headers": of(*(pax(record("a", "b"), b"X") for _ in range(3000)), member(file)),
        "sparse 1.0": of(
            pax(record("GNU.sparse.major", "1") + record("GNU.sparse.minor", "0") + record("GNU.sparse.name", file)),
            forced(file.encode(), b"0", 1 << 20, b"0\n" * (1 << 19)),
        ),
        "sparse 1.0, a map of gigabytes": bomb(
            4 << 30,
            FIRST
            + pax(record("GNU.sparse.major", "1") + record("GNU.sparse.minor", "0"))
            + forced(file.encode(), b"0", 4 << 30, b"999999999\n"),
        ),
        "sparse 0.1": of(pax(record("GNU.sparse.map", "0,1," * 100_000 + "0")), member(file)),
        "sparse 0.0": of(
            pax(
                b"".join(record("GNU.sparse.offset", "0") + record("GNU.sparse.numbytes", "1") for _ in range(9999))
                + record("GNU.sparse.size", "9")
            ),
            member(file),
        ),
        "sparse, old": of(forced(file.encode(), b"S", rest=b"ustar  \0".ljust(225, b"0") + b"\1")),
        "sparse, old, without end": of(
            forced(file.encode(), b"S", rest=b"ustar  \0".ljust(225, b"0") + b"\1"),
            (b"0" * 504 + b"\1" + b"\0" * 7) * 20_000,
        ),
        "size: infinite": of(pax(record("size", "inf")), member(file)),
        "size: negative": of(pax(record("size", "-512")), member(file)),
        "size: ten thousand digits": of(pax(record("size", "9" * 10_000)), member(file)),
        "size: a lie": of(pax(record("size", "1000000")), member(file, b"x")),
        "time: infinite": as_written(pax(record("mtime", "inf")), member(file)),
        "time: none": as_written(pax(record("mtime", "nan")), member(file)),
        "time: very late": of(pax(record("mtime", "1e300")), member(file)),
        "time: negative": of(forced(file.encode(), mtime=b"-99999999999")),
        "owner: huge": of(pax(record("uid", "9" * 4000)), member(file)),
        "owner: text": of(pax(record("uid", "root")), member(file)),
        "character set": of(pax(record("hdrcharset", "BINARY") + record("path", "\udcff")), member(file)),
        "character set that is none": of(pax(record("hdrcharset", "utf-7")), member(file)),
        # names
        "a name of a megabyte": of(pax(record("path", f"{ROOT}/" + "n" * 900_000)), member("x")),
        "half a million folders in a name": of(
            member(f"{ROOT}/l", type=tarfile.SYMTYPE, linkname="x"),
            pax(record("path", ROOT + "/a" * 450_000)),
            member("x"),
        ),
        "long links": of(
            *(
                pax(record("linkpath", "l" * 900_000)) + member(f"{ROOT}/{n}", type=tarfile.SYMTYPE, linkname="x")
                for n in range(200)
            )
        ),
        "a name with NUL": of(pax(record("path", f"{ROOT}/a\0b")), member("x")),
        "an escape in a name": of(member(f"{ROOT}/../\x1b[31m\u202e\x07")),
        "a line end in a name": of(member(f"../\n::error::{ROOT}")),
        "bytes that are no text": of(member("\udcff\udcfe")),
        "absolute": of(member("/etc/passwd", b"x")),
        "upward": of(member(f"{ROOT}/../../etc/passwd", b"x")),
        "elsewhere": of(member("etc/passwd", b"x")),
        "through a link": of(
            member(f"{ROOT}/l", type=tarfile.SYMTYPE, linkname="/etc"), member(f"{ROOT}/l/passwd", b"x")
        ),
        "a hard link out of it": of(member(f"{ROOT}/l", type=tarfile.LNKTYPE, linkname="/etc/shadow")),
        "a device in it": of(member(f"{ROOT}/sda", type=tarfile.BLKTYPE, devmajor=8)),
        "an unknown type": of(forced(file.encode(), b"Z")),
        "the same twice": of(member(file, b"x"), member(file, b"y")),
        "two manifests": packed(FIRST + FIRST + FOLDER),
        # what it says of itself
        "no manifest": packed(FOLDER + member("moorage-end.json", b"{}")),
        "no end": packed(FIRST + FOLDER),
        "the end first": packed(member("moorage-end.json", b"{}") + FIRST),
        "a manifest of noise": packed(
            member("moorage.json", random.Random(4).randbytes(5000)) + FOLDER + member("moorage-end.json", b"{}")
        ),
        "a deep manifest": packed(
            member("moorage.json", b'{"kind":' + b"[" * 400_000) + FOLDER + member("moorage-end.json", b"{}")
        ),
        "an end of digits": packed(
            FIRST + FOLDER + member("moorage-end.json", b'{"members": ' + b"9" * 500_000 + b"}")
        ),
        "an end that is a folder": packed(FIRST + FOLDER + member("moorage-end.json", type=tarfile.DIRTYPE)),
        "an end that lies": packed(
            ended(FOLDER + member(file, b"x"), {"members": 2, "bytes": 1, "digest": "0" * 64, "sha256": "0" * 64})
        ),
        "a long chain of names, well ended": packed(ended(FOLDER + chain * 3)),
        "data behind the end": packed(ended(FOLDER) + b"x" * 5000),
        # its checksum
        "checksum: zeros": beside(lambda path: path.write_text("0" * 64) and None),
        "checksum: of another": beside(lambda path: path.write_text(f"{'ab' * 32}  x\n") and None),
        "checksum: escapes": beside(lambda path: path.write_text("\x1b[31m" * 10) and None),
        "cut off": spoilt(lambda content: content[: len(content) // 2]),
        "twice in one file": spoilt(lambda content: content * 2),
        "a bit turned": spoilt(lambda content: content[:40] + bytes([content[40] ^ 8]) + content[41:]),
    }


def harmless() -> dict[str, Layout]:
    """What is read, whatever lies beside it: a checksum that cannot be read is none."""
    return {
        "checksum: a pipe": beside(os.mkfifo),
        "checksum: a device": beside(lambda path: path.symlink_to("/dev/zero")),
        "checksum: a gigabyte": beside(hole(1 << 30)),
        "checksum: a folder": beside(Path.mkdir),
    }


FIELDS = ("name", "mode", "uid", "size", "mtime", "kind", "link", "rest")
ODD = (
    b"",
    b"\xff" * 12,
    b"\x80" + b"\xff" * 11,
    b"77777777777",
    b"-1",
    b"9" * 12,
    b"\0" * 12,
    b"../../../..",
    b"/",
    b"\x1b[2J",
    b" ",
    b"L",
    b"K",
    b"x",
    b"g",
    b"S",
)


def generated(seed: int, count: int) -> dict[str, Layout]:
    """Snapshots with right sums, in which some headers were changed."""
    chance = random.Random(seed)
    return {f"seed {seed}, {number}": packed(_changed(random.Random(chance.random()))) for number in range(count)}


def _changed(chance: random.Random) -> bytes:
    files = b"".join(
        member(f"{ROOT}/f{n}", chance.randbytes(chance.randrange(2000))) for n in range(chance.randint(1, 6))
    )
    tar = bytearray(ended(FOLDER + files))
    headers = [at for at in range(0, len(tar) - BLOCK, BLOCK) if tar[at + 257 : at + 262] == b"ustar"]
    for _ in range(chance.randint(1, 3)):
        at = chance.choice(headers)
        header = tar[at : at + BLOCK]
        start, end = {
            "name": (0, 100),
            "mode": (100, 108),
            "uid": (108, 116),
            "size": (124, 136),
            "mtime": (136, 148),
            "kind": (156, 157),
            "link": (157, 257),
            "rest": (257, 512),
        }[chance.choice(FIELDS)]
        value = chance.choice(ODD) if chance.random() < 0.8 else chance.randbytes(end - start)
        header[start:end] = value[: end - start].ljust(end - start, b"\0")
        tar[at : at + BLOCK] = summed(header)
    for _ in range(chance.randrange(3)):
        tar[chance.randrange(len(tar))] ^= 1 << chance.randrange(8)
    return bytes(tar)
