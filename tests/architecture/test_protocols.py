"""Adapters and fakes: each overrides its whole protocol, and inherits its docstrings."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module
from pkgutil import walk_packages
from types import ModuleType
from typing import Protocol

import pytest

import moorage.adapters
import moorage.testing
from moorage import interfaces

PROTOCOLS = tuple(
    kind for _, kind in inspect.getmembers(interfaces, inspect.isclass) if getattr(kind, "_is_protocol", False)
)


def classes(package: ModuleType) -> Iterator[type]:
    """The classes that the modules of a package define."""
    for found in walk_packages(package.__path__, f"{package.__name__}."):
        module = import_module(found.name)
        yield from (kind for _, kind in inspect.getmembers(module, inspect.isclass) if kind.__module__ == found.name)


def methods(kind: type) -> set[str]:
    """Public methods and properties that a class defines itself."""
    return {
        name
        for name, value in vars(kind).items()
        if not name.startswith("_") and (inspect.isfunction(value) or isinstance(value, property))
    }


def missing(kind: type) -> set[str]:
    """Methods of its protocols that a class would inherit with an empty body."""
    wanted = {name for base in kind.__mro__ if base in PROTOCOLS for name in methods(base)}
    own = {name for base in kind.__mro__ if base not in PROTOCOLS for name in methods(base)}
    return wanted - own


def undocumented(kind: type) -> set[str]:
    """Public methods without a docstring of their own or of a protocol."""
    return {name for name in methods(kind) if not inspect.getdoc(getattr(kind, name))}


ADAPTERS = [*classes(moorage.adapters)]
FAKES = [*classes(moorage.testing)]


def test_there_are_protocols():
    assert len(PROTOCOLS) > 9


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda one: one.__name__)
def test_every_protocol_has_an_adapter_and_a_fake_that_say_so(protocol: type):
    assert [kind for kind in ADAPTERS if protocol in kind.__mro__]
    assert [kind for kind in FAKES if protocol in kind.__mro__]


def test_adapters_and_fakes_override_every_method_of_their_protocol():
    assert {kind.__name__: missing(kind) for kind in [*ADAPTERS, *FAKES] if missing(kind)} == {}


def test_public_methods_have_a_docstring_of_their_own_or_of_their_protocol():
    public = [kind for kind in [*ADAPTERS, *FAKES] if not kind.__name__.startswith("_")]
    assert {kind.__qualname__: undocumented(kind) for kind in public if undocumented(kind)} == {}


class Spoken(Protocol):
    def said(self) -> str:
        """What is said."""

    def heard(self) -> None:
        """What is heard."""


class Deaf(Spoken):
    def said(self) -> str:
        return ""

    def shouted(self) -> None:
        return


def test_an_offender_is_found(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tests.architecture.test_protocols.PROTOCOLS", (Spoken,))
    assert missing(Deaf) == {"heard"}
    assert undocumented(Deaf) == {"shouted"}
