"""Volumes and snapshots as text."""

from __future__ import annotations

from collections.abc import Sequence

from moorage.model.volume import Snapshot, Volume
from moorage.show.formatting import clean, count, table

_UNITS = ("B", "kB", "MB", "GB", "TB")


def size(number: int | None) -> str:
    """`12.3 MB`, in powers of ten like `docker system df`. None: `-`."""
    if number is None:
        return "-"
    value, unit = float(number), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.3g} {_UNITS[unit]}"


def volumes_text(volumes: Sequence[Volume]) -> str:
    """A line for each volume: its stack, the services that mount it, its size."""
    if not volumes:
        return "no volumes"
    rows = [
        (
            clean(volume.name),
            volume.stack or "(shared)",
            "\n".join(_user(volume, user.stack, user.service, running=user.running) for user in volume.users) or "-",
            size(volume.size_bytes),
        )
        for volume in volumes
    ]
    known = [volume.size_bytes for volume in volumes if volume.size_bytes is not None]
    total = f"{count(len(volumes), 'volume')}, {size(sum(known))}"
    return f"{table(('VOLUME', 'STACK', 'USED BY', 'SIZE'), rows)}\n\n{total}"


def _user(volume: Volume, stack: str, service: str, *, running: bool) -> str:
    name = service if stack == volume.stack else f"{stack or '?'}/{service or '?'}"
    return clean(name if running else f"{name} (stopped)")


def snapshot_text(snapshot: Snapshot) -> str:
    """A snapshot: its file, content, sizes and checksum."""
    manifest, contents = snapshot.manifest, snapshot.contents
    what = f"databases {', '.join(manifest.databases)}" if manifest.databases else count(contents.members, "file")
    sizes = f"{size(contents.bytes)}, {size(snapshot.size_bytes)} packed"
    taken = f"{manifest.kind} of {manifest.volume} ({manifest.stack}): {clean(what)}, {sizes}"
    return "\n".join([clean(snapshot.path), taken, f"sha256 {snapshot.sha256}"])
