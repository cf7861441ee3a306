"""A case: a folder with a compose file, and in `case.yaml` the steps that a user takes and what is right after each."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

HERE = Path(__file__).resolve().parent
FILE = "case.yaml"


def _words(value: Any) -> Any:
    return shlex.split(value) if isinstance(value, str) else value


def _several(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], BeforeValidator(_words)]
"""A command line, as a text or as a list."""
Texts = Annotated[tuple[str, ...], BeforeValidator(_several)]
"""One text or a list of them."""


class Part(BaseModel):
    """A part of a case file; a misspelt key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Inside(Part):
    """A shell command in a service's first container."""

    service: str
    sh: str


class Act(Part):
    """What somebody else does on the engine. Names of networks and volumes as in the compose file."""

    do: Literal["stop", "remove", "disconnect", "remove network", "remove volume", "remove image"]
    service: str = ""
    network: str = ""
    volume: str = ""
    image: str = ""


class Step(Part):
    """One step: exactly one thing to do, or none, then what is right after it.

    `exit`, `says` and `never_says` are about a command's exit code and all that it wrote (regular expressions).
    """

    moorage: Words | None = None
    """Arguments of `moorage`."""
    compose: Words | None = None
    """Arguments of `docker-compose`, for the same project."""
    write: dict[str, str] | None = None
    """Files of the project and their new texts."""
    inside: Inside | None = None
    engine: Act | None = None
    env: dict[str, str] = Field(default_factory=dict)
    """More variables for the command."""
    exit: int = 0
    says: Texts = ()
    never_says: Texts = ()
    states: dict[str, str] = Field(default_factory=dict)
    """Service → the engine's word for each of its containers (`running`), or `absent`."""
    inspect: dict[str, Any] = Field(default_factory=dict)
    """`SERVICE.Path.Of.Key` of the engine's description of a service's first container → value."""
    same: Texts = ()
    """Services whose containers are still those of the step before."""
    others: Texts = ()
    """Services whose containers have been re-created since the step before."""
    left: Literal["nothing"] | None = None
    """No container, network or volume of the stack is on the engine."""

    @model_validator(mode="after")
    def _one_thing(self) -> Step:
        done = [one for one in (self.moorage, self.compose, self.write, self.inside, self.engine) if one is not None]
        assert len(done) <= 1, "a step does one thing"
        assert done or self.states or self.inspect or self.same or self.others or self.left, "a step says something"
        return self


class Case(Part):
    """A whole case."""

    name: str = ""
    """Its folder's."""
    why: str
    """The right behaviour, as a sentence."""
    source: str = ""
    """Where it comes from: a public bug report, a page of the Compose specification. Empty: our own."""
    exhaustive: bool = False
    """True: for `make faults`, because another case shows the same kind in `make test`."""
    env: dict[str, str] = Field(default_factory=dict)
    """Variables for every command. `STACK`, the stack's name, is set always."""
    steps: tuple[Step, ...] = Field(min_length=1)

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return HERE / self.name


def all_cases() -> list[Case]:
    """Every case, by its folder's name. Raises ValueError: a case file is wrong."""
    return [_read(file) for file in sorted(HERE.glob(f"*/{FILE}"))]


def _read(file: Path) -> Case:
    return Case.model_validate({**yaml.safe_load(file.read_text()), "name": file.parent.name})
