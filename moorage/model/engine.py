"""Which engine something is on."""

from __future__ import annotations

from moorage.model.base import Frozen


class _Named(Frozen):
    """An engine as it was named."""

    address: str
    """`unix:///var/run/docker.sock`, `tcp://10.0.0.2:2376`, `ssh://me@far`."""
    context: str | None = None
    """Docker's context that names it. None: `DOCKER_HOST` does, or it is Docker's default."""

    @property
    def words(self) -> str:
        """`tcp://10.0.0.2:2376 (context 'far')`."""
        return f"{self.address} (context {self.context!r})" if self.context else self.address


class EnginePlace(_Named):
    """Where an engine is."""

    machine: str | None = None
    """The machine that it is on. None: this one."""


class EngineRecord(_Named):
    """The engine that a run or a stack is on, as it stands on record."""

    id: str = ""
    """The engine's own name for itself, with its machine's and the folder of its data. Empty: it did not tell any."""
