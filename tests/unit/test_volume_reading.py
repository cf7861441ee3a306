"""Reading a volume: what was opened for it is closed when the reader stops, and not at some later time."""

from __future__ import annotations

import io
import tarfile
from types import SimpleNamespace

import pytest

from moorage.errors import EngineError
from moorage.model.volume import ROOT
from moorage.work.volumes import copying


def archive() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as made:
        for name in (ROOT, f"{ROOT}/a", f"{ROOT}/b"):
            member = tarfile.TarInfo(name)
            member.type = tarfile.DIRTYPE
            made.addfile(member)
    return packed.getvalue()


def read(_volume: str, _image: str, _stack: str):
    """As the engine's: a container is there meanwhile, and its removal fails."""
    try:
        yield archive()
        yield b""
    finally:
        raise EngineError("made to fail")


@pytest.mark.parametrize("look", [copying.is_empty, copying.content_of])
def test_that_its_helper_cannot_be_removed_is_told(look):
    with pytest.raises(EngineError, match="made to fail"):
        look(SimpleNamespace(volumes=SimpleNamespace(read=read)), "v", "i", "s")
