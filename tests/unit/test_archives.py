"""Snapshot files: what was written is read; what is damaged, hostile or too large is refused."""

from __future__ import annotations

import io
import json
import tarfile
from datetime import UTC, datetime

import pytest
import zstandard

from moorage.errors import ArchiveError
from moorage.model.volume import Kind, Manifest
from moorage.work.volumes import archive
from moorage.work.volumes.archive import Reader, Writer
from moorage.work.volumes.tar import Tally

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
MANIFEST = Manifest(kind=Kind.FILES, stack="shop", volume="data", created_at=NOW)
ROOT = "moorage-volume"


def info(name, content=b"", **facts):
    made = tarfile.TarInfo(name)
    made.size = len(content)
    for key, value in facts.items():
        setattr(made, key, value)
    return made, content


FILES = [
    info(ROOT, type=tarfile.DIRTYPE, mode=0o700, uid=999, gid=998),
    info(f"{ROOT}/a", b"x" * 700_000, mode=0o4640, uid=70_000, gid=3_000_000, mtime=1234),
    info(f"{ROOT}/ünï\udcff", b"not UTF-8"),
    info(f"{ROOT}/{'long/' * 60}name", b""),
    info(f"{ROOT}/link", type=tarfile.SYMTYPE, linkname="/anywhere/else"),
    info(f"{ROOT}/same", type=tarfile.LNKTYPE, linkname=f"{ROOT}/a"),
    info(f"{ROOT}/cap", b"1", pax_headers={"SCHILY.xattr.security.capability": "abc"}),
]


def write(target, files=FILES, **options):
    with Writer(target, MANIFEST, run="r1", **options) as writer:
        for one, content in files:
            writer.add(one, [content])
        return writer.finish()


def forge(target, files, *, end=None, manifest=True):
    """A snapshot as an attacker would write it: the checksums are right."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        if manifest:
            one, content = info("moorage.json", MANIFEST.model_dump_json().encode())
            tar.addfile(one, io.BytesIO(content))
        for one, content in files:
            tar.addfile(one, io.BytesIO(content))
        tally = Tally(("",))
        tally.check = lambda _info: None
        for one, content in files:
            list(tally.watch(one, [content]))
        said = end or {**tally.contents("0" * 64).model_dump(), "members": len(files)}
        one, content = info("moorage-end.json", json.dumps(said).encode())
        tar.addfile(one, io.BytesIO(content))
    target.write_bytes(zstandard.compress(packed.getvalue()))
    return target


def refused(path, reason, **limits):
    with Reader(path) as reader, pytest.raises(ArchiveError) as caught:
        reader.verify(**limits)
    assert caught.value.fields["reason"] == reason, caught.value
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.fixture
def target(tmp_path):
    return tmp_path / "data.tar.zst"


def test_what_was_written_is_read(target):
    written = write(target)
    with Reader(target) as reader:
        assert reader.verify() == written
        read = {one.name: (one, b"".join(content)) for one, content in reader.members()}
    assert [*read] == [one.name for one, _ in FILES]
    for one, content in FILES:
        found, data = read[one.name]
        assert data == content
        for fact in ("type", "mode", "uid", "gid", "linkname", "mtime"):
            assert getattr(found, fact) == getattr(one, fact)
    assert read[f"{ROOT}/cap"][0].pax_headers["SCHILY.xattr.security.capability"] == "abc"
    assert target.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in target.parent.iterdir()) == [target.name, f"{target.name}.sha256"]


def test_any_tar_reads_it(target):
    write(target)
    with zstandard.open(target) as opened, tarfile.open(fileobj=opened, mode="r|") as tar:
        assert [one.name for one in tar] == ["moorage.json", *(one.name for one, _ in FILES), "moorage-end.json"]


def test_streams_of_unknown_length(target):
    chunks = [bytes([number]) * 1_000_000 for number in range(9)]
    with Writer(target, MANIFEST, run="r1") as writer:
        writer.add_stream("0.dump", iter(chunks))
        writer.add_stream("1.dump", iter([b"", b"small"]))
        writer.add_stream("2.dump", iter([]))
        writer.finish()
    with Reader(target) as reader:
        reader.verify()
        assert b"".join(reader.stream("0.dump")) == b"".join(chunks)
        assert b"".join(reader.stream("1.dump")) == b"small"
        assert b"".join(reader.stream("2.dump")) == b""


def test_nothing_is_overwritten_unasked(target):
    target.write_text("precious")
    with pytest.raises(ArchiveError, match="already exists"):
        write(target)
    assert target.read_text() == "precious"
    write(target, force=True)
    with Reader(target) as reader:
        reader.verify()


def test_one_that_came_meanwhile_stays(target):
    with Writer(target, MANIFEST, run="r1") as writer:
        target.write_text("precious")
        with pytest.raises(ArchiveError, match="already exists"):
            writer.finish()
    assert target.read_text() == "precious"
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_a_writer_that_fails_leaves_nothing(target):
    with pytest.raises(RuntimeError), Writer(target, MANIFEST, run="r1"):
        raise RuntimeError
    assert not list(target.parent.iterdir())


def test_truncated_anywhere(target):
    write(target, FILES[:3])
    whole = target.read_bytes()
    archive.checksum_file(target).unlink()
    for length in range(0, len(whole) - 4, max(1, len(whole) // 60)):  # the last four bytes are zstd's own checksum
        target.write_bytes(whole[:length])
        refused(target, "damaged")


def test_a_flipped_bit_anywhere(target):
    """Refused; or one of the few bits that mean nothing to zstd, and then all is read as it was written."""
    write(target, [info(ROOT, type=tarfile.DIRTYPE), info(f"{ROOT}/a", bytes(range(256)) * 4)])
    whole = target.read_bytes()
    archive.checksum_file(target).unlink()
    harmless = 0
    for place in range(len(whole)):
        target.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        with Reader(target) as reader:
            try:
                reader.verify()
            except ArchiveError:
                continue
            harmless += 1
            assert [b"".join(content) for _, content in reader.members()] == [b"", bytes(range(256)) * 4]
    assert harmless < 10


def test_the_checksum_beside_it_counts(target):
    write(target)
    beside = archive.checksum_file(target)
    assert beside.read_text().split()[1] == target.name
    beside.write_text("0" * 64 + f"  {target.name}\n")
    assert "its checksum is" in refused(target, "damaged")


def test_one_that_changes_between_the_readings(target):
    write(target)
    with Reader(target) as reader:
        reader.verify()
        write(target.with_name("other"), FILES[:2])
        with target.open("r+b") as file:  # the same file, not another in its place
            file.write(target.with_name("other").read_bytes())
        with pytest.raises(ArchiveError):
            list(reader.members())


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"PK\3\4" + b"\0" * 100, zstandard.compress(b""), zstandard.compress(b"x" * 10_000)]
)
def test_no_archive_at_all(target, content):
    target.write_bytes(content)
    refused(target, "damaged")


def test_a_folder_or_nothing(target, tmp_path):
    for path in (tmp_path, target):
        with pytest.raises(ArchiveError), Reader(path):
            pass


def test_a_plain_tar_of_others(target):
    forge(target, FILES[:2], manifest=False)
    assert "not a snapshot of Moorage" in refused(target, "damaged")


HOSTILE = {
    "absolute": [info("/etc/passwd", b"x")],
    "upward": [info(f"{ROOT}/../../etc/passwd", b"x")],
    "upward at the end": [info(f"{ROOT}/..", type=tarfile.DIRTYPE)],
    "elsewhere": [info("etc/passwd", b"x")],
    "dots": [info(f"{ROOT}/./x", b"x")],
    "root as prefix only": [info(f"{ROOT}-not", b"x")],
    "through a link": [info(f"{ROOT}/l", type=tarfile.SYMTYPE, linkname="/etc"), info(f"{ROOT}/l/passwd", b"x")],
    "hard link outside": [info(f"{ROOT}/l", type=tarfile.LNKTYPE, linkname="/etc/shadow")],
    "hard link to a link": [
        info(f"{ROOT}/s", type=tarfile.SYMTYPE, linkname="/etc/shadow"),
        info(f"{ROOT}/l", type=tarfile.LNKTYPE, linkname=f"{ROOT}/s"),
    ],
    "hard link forward": [info(f"{ROOT}/l", type=tarfile.LNKTYPE, linkname=f"{ROOT}/later"), info(f"{ROOT}/later")],
    "block device": [info(f"{ROOT}/sda", type=tarfile.BLKTYPE, devmajor=8)],
    "character device": [info(f"{ROOT}/mem", type=tarfile.CHRTYPE, devmajor=1, devminor=1)],
    "twice": [info(f"{ROOT}/a", b"x"), info(f"{ROOT}/a", type=tarfile.SYMTYPE, linkname="/etc")],
}


@pytest.mark.parametrize("files", HOSTILE.values(), ids=HOSTILE)
def test_hostile_members(target, files):
    refused(forge(target, files), "unsafe")


def test_a_volume_with_a_device_is_not_taken(target):
    with pytest.raises(ArchiveError, match="neither a file nor a folder"):
        write(target, HOSTILE["block device"])
    assert not list(target.parent.iterdir())


def test_a_forged_end(target):
    forge(target, FILES[:2], end={"members": 2, "bytes": 700_000, "digest": "0" * 64, "sha256": "0" * 64})
    refused(target, "damaged")


def test_what_unpacks_to_too_much(target):
    write(target)
    assert "MOORAGE" not in refused(target, "too large", limit_bytes=1000)


def test_a_header_that_wants_memory(target):
    greedy, _ = info("x", type=tarfile.XHDTYPE)
    greedy.size = 1 << 40
    target.write_bytes(zstandard.compress(greedy.tobuf(tarfile.GNU_FORMAT) + b"1" * 4096))
    refused(target, "damaged")
