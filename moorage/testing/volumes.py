"""`interfaces.Volumes` on a machine in memory; files are text, all of one owner. It passes the same contract suite."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence

from moorage.errors import EngineError
from moorage.interfaces import Volumes
from moorage.model.volume import ROOT, Volume, VolumeUser
from moorage.rules import labels
from moorage.testing import programs
from moorage.testing.machine import FakeMachine
from moorage.testing.machine import Volume as Held


class FakeVolumes(Volumes):
    """Volumes in memory."""

    def __init__(self, machine: FakeMachine) -> None:
        self.machine = machine

    def all(self, *, sized: bool = False) -> tuple[Volume, ...]:
        with self.machine.mutex:
            return tuple(self._shown(held, sized=sized) for _, held in sorted(self.machine.volumes.items()))

    def find(self, name: str) -> Volume | None:
        with self.machine.mutex:
            held = self.machine.volumes.get(name)
            return self._shown(held, sized=False) if held else None

    def _shown(self, held: Held, *, sized: bool) -> Volume:
        users = [
            VolumeUser(
                container=box.id,
                name=box.name,
                stack=box.labels.get(labels.COMPOSE_PROJECT, ""),
                service=box.labels.get(labels.COMPOSE_SERVICE, ""),
                running=box.running,
            )
            for box in self.machine.users_of(held.name)
        ]
        return Volume(
            name=held.name,
            stack=held.labels.get(labels.STACK, ""),
            key=held.labels.get(labels.COMPOSE_VOLUME, ""),
            labels=dict(held.labels),
            size_bytes=sum(len(text.encode()) for text in held.files.values()) if sized else None,
            users=tuple(sorted(users, key=lambda user: user.name)),
        )

    def make(self, volume: Volume) -> None:
        """No effect if the volume exists."""
        with self.machine.mutex:
            if volume.name not in self.machine.volumes:
                self.machine.add_volume(volume.name, volume.labels)

    def read(self, name: str, image: str, stack: str) -> Iterator[bytes]:
        with self.machine.mutex:
            files = dict(self._existing(name, image).files)
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for folder in [ROOT, *sorted({f"{ROOT}/{parent}" for file in files for parent in _parents(file)})]:
                info = tarfile.TarInfo(folder)
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(info)
            for file, text in sorted(files.items()):
                info = tarfile.TarInfo(f"{ROOT}/{file}")
                info.size, info.mode = len(text.encode()), 0o644
                tar.addfile(info, io.BytesIO(text.encode()))
        yield packed.getvalue()

    def write(self, name: str, image: str, stack: str, tar: Iterable[bytes]) -> None:
        """Owners and modes are not kept."""
        whole = b"".join(tar)
        with self.machine.mutex, tarfile.open(fileobj=io.BytesIO(whole)) as opened:
            held = self._existing(name, image)
            for info in opened:
                content = opened.extractfile(info) if info.isreg() else None
                if content:
                    held.files[info.name.removeprefix(f"{ROOT}/")] = content.read().decode(errors="replace")

    def _existing(self, name: str, image: str) -> Held:
        if self.machine.image(image) is None:
            raise EngineError(f"No such image: {image}", status=404)
        held = self.machine.volumes.get(name)
        if held is None:
            self.machine.add_volume(name)
            held = self.machine.volumes[name]
        return held

    def dump(self, container: str, command: Sequence[str], environment: Mapping[str, str]) -> Iterator[bytes]:
        outcome = self._run(container, command, environment, {})
        yield "".join(f"{line}\n" for line in outcome.output).encode()
        _check(command, outcome)

    def load(
        self, container: str, command: Sequence[str], environment: Mapping[str, str], stdin: Iterable[bytes]
    ) -> None:
        """The program reads its input from its file `/dev/stdin`."""
        text = b"".join(stdin).decode(errors="replace")
        _check(command, self._run(container, command, environment, {"/dev/stdin": text}))

    def _run(
        self, container: str, command: Sequence[str], environment: Mapping[str, str], files: Mapping[str, str]
    ) -> programs.Outcome:
        with self.machine.mutex:
            box = self.machine.existing(container)
            if not box.running:
                raise EngineError(f"container {box.id} is not running", status=409)
            seen = {**self.machine.files_of(box), **files}
            return programs.run(command, {**box.environment, **environment}, seen)

    def helpers(self, stack: str) -> tuple[str, ...]:
        """There are none."""
        return ()

    def remove_helpers(self, stack: str) -> None:
        """Does nothing: there are no helpers."""

    def free_bytes(self) -> int | None:
        """None: nothing is stored on a disk."""
        return None


def _check(command: Sequence[str], outcome: programs.Outcome) -> None:
    if outcome.exit_code:
        raise EngineError(f"{command[-1]}: exit code {outcome.exit_code}: {' '.join(outcome.output)}")


def _parents(file: str) -> Iterator[str]:
    parts = file.split("/")[:-1]
    yield from ("/".join(parts[:count]) for count in range(1, len(parts) + 1))
