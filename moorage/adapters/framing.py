"""One frame around every public method of an adapter: none can forget to translate its errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import wraps
from inspect import isfunction, isgeneratorfunction
from typing import Any, TypeVar

Adapter = TypeVar("Adapter", bound=type)
Frame = Callable[[Any], AbstractContextManager[Any]]


def every_call(frame: Frame, but: tuple[str, ...] = ()) -> Callable[[Adapter], Adapter]:
    """Decorates a class: each public method, but those named, runs in the frame that its object gives.

    Of a generator, all of it: a stream may break off at any of its pieces.
    """

    def decorate(adapter: Adapter) -> Adapter:
        for name, method in list(vars(adapter).items()):
            if isfunction(method) and not name.startswith("_") and name not in but:
                setattr(adapter, name, (_stream if isgeneratorfunction(method) else _call)(method, frame))
        return adapter

    return decorate


def _call(method: Callable[..., Any], frame: Frame) -> Callable[..., Any]:
    @wraps(method)
    def framed(self: Any, *args: Any, **options: Any) -> Any:
        with frame(self):
            return method(self, *args, **options)

    return framed


def _stream(method: Callable[..., Iterator[Any]], frame: Frame) -> Callable[..., Iterator[Any]]:
    @wraps(method)
    def framed(self: Any, *args: Any, **options: Any) -> Iterator[Any]:
        with frame(self):
            yield from method(self, *args, **options)

    return framed
