"""What is fuzzed: readers of what others write. Each takes bytes, and raises only what it says that it raises."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zstandard
from pydantic import ValidationError

from moorage.adapters.compose.as_read import refuse_depth
from moorage.adapters.context_files import files_in
from moorage.adapters.engine import streams
from moorage.adapters.engine.exec import frames
from moorage.errors import MoorageError
from moorage.model.definition import Source
from moorage.model.generation import Generation, GenerationRecord
from moorage.model.lease import Lease
from moorage.model.state import RunRecord
from moorage.rules import dockerfile, reading, secret_files
from moorage.show.junit import counted
from moorage.work.definitions.compose_variables import choices
from moorage.work.volumes.archive import Reader

Target = Callable[[bytes], None]
_PLACE = Path(tempfile.gettempdir())
_SOURCE = Source(directory=Path("/project"))


def definition(data: bytes) -> None:
    """What Compose's `config` says: texts wherever Compose takes any, and anything at all below `x-moorage`.

    The pieces between NUL bytes are the texts, in this order, then what the service and the stack ask of Moorage, as JSON.
    """
    pieces = [*data.split(b"\0"), *([b""] * _TEXTS)]
    text = [piece.decode(errors="replace") for piece in pieces[:_TEXTS]]
    options = [_json(piece) for piece in pieces[_TEXTS : _TEXTS + 2]]
    config = _project(text, *[*options, None, None][:2])
    try:
        refuse_depth(config)
        extensions = reading.service_extensions(config)
        reading.read_definition(config, config, extensions, {}, _SOURCE)
    except MoorageError:
        return


_TEXTS = 16


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _project(text: list[str], of_service: Any, of_stack: Any) -> dict[str, Any]:
    """A project as Compose has checked it, with a text wherever it takes any."""
    service = {
        "image": text[0],
        "ports": [{"mode": "ingress", "target": 80, "published": text[1], "host_ip": text[2], "protocol": text[3]}],
        "stop_grace_period": text[4],
        "healthcheck": {"test": ["CMD", text[5]], "interval": text[6], "timeout": "3s"},
        "pull_policy": text[7],
        "network_mode": text[8],
        "volumes_from": [text[9]],
        "environment": {"A": text[10], text[11]: None},
        "configs": [{"source": "c", "target": text[12], "uid": text[13], "mode": text[14]}],
        "build": {"context": text[15], "dockerfile": text[5], "args": {text[11]: text[10]}},
        "expose": [text[1]],
        "post_start": [{"command": [text[5]], "user": text[13]}],
        "x-moorage": of_service,
    }
    configs = {"c": {"content": text[10]}}
    return {"name": "x", "services": {"web": service, "b": {"image": "a"}}, "configs": configs, "x-moorage": of_stack}


def snapshot(data: bytes) -> None:
    """A snapshot whose compression is right; what is in it need not be."""
    with tempfile.NamedTemporaryFile(dir=_PLACE) as file:
        file.write(zstandard.compress(data))
        file.flush()
        _read_snapshot(Path(file.name))


def snapshot_file(data: bytes) -> None:
    """A snapshot as it stands on disk."""
    with tempfile.NamedTemporaryFile(dir=_PLACE) as file:
        file.write(data)
        file.flush()
        _read_snapshot(Path(file.name))


def _read_snapshot(path: Path) -> None:
    try:
        with Reader(path) as reader:
            reader.verify(1 << 30, 1000)
            for _, content in reader.members():
                for _ in content:
                    pass
    except MoorageError:
        return


def record(data: bytes) -> None:
    """Rows of the registry and files of generations."""
    for model in (RunRecord, GenerationRecord, Lease, Generation):
        try:
            model.model_validate_json(data)
        except ValidationError:
            continue


def env_file(data: bytes) -> None:
    """`.env` and env files."""
    text = data.decode(errors="replace")
    for name, value in secret_files.assigned(text):
        assert isinstance(name, str)
        assert isinstance(value, str)
    list(secret_files.values_within(text))
    with tempfile.TemporaryDirectory(dir=_PLACE) as folder:
        (Path(folder) / ".env").write_bytes(data)
        choices({}, Path(folder), (), (), ())


def log_frames(data: bytes) -> None:
    """The engine's answer to `logs` and `exec`, cut off or garbled."""
    try:
        entries = list(streams._of_frames(io.BytesIO(data)))
    except ValueError:
        entries = []  # becomes "the engine's answer makes no sense"
    assert sum(len(one.data) for one in entries) <= len(data)
    assert sum(len(piece) for _, piece in frames(io.BytesIO(data))) <= len(data)
    try:
        list(streams._of_terminal(_Answer(data)))
    except ValueError:
        return


class _Answer:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def iter_content(self, _size: Any) -> Any:
        return (self._data[at : at + 7000] for at in range(0, len(self._data), 7000))


def ignore_file(data: bytes) -> None:
    """Patterns of an ignore file, each against the same few files."""
    lines = data.decode(errors="surrogateescape").splitlines()[:50]
    with tempfile.TemporaryDirectory(dir=_PLACE) as folder:
        for name in ("a", "b.txt", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"):
            (Path(folder) / name).touch()
        try:
            files_in(Path(folder), lines)
        except MoorageError:
            return


def docker_file(data: bytes) -> None:
    """A Dockerfile, of which the images are wanted."""
    dockerfile.bases(data.decode(errors="replace"), {}, {})


def report(data: bytes) -> None:
    """A test report."""
    counted("x.xml", io.BytesIO(data), 1 << 20)


TARGETS: dict[str, Target] = {
    one.__name__: one
    for one in (definition, snapshot, snapshot_file, record, env_file, log_frames, ignore_file, docker_file, report)
}
