"""Every error of Moorage. Each says where, what, and in `hint` what to do next.

    MoorageError                        exit 1
    ├── DefinitionError                 2    the compose file, a name, an option of the definition
    │   ├── UnsupportedKeyError         2    Compose supports this key, Moorage does not
    │   ├── OtherEngineError            2    the stack is on another engine than the one that is named
    │   ├── UnsupportedByBackendError   2    the selected builder or engine does not support this key
    │   └── ArchiveError                2    a snapshot of a volume is damaged or unsafe, or would overwrite something
    ├── PortError                       3    no host port could be leased
    │   └── PortTakenError              3    the engine found a leased port taken (leads to another lease)
    ├── EngineError                     4    the engine refused a call or broke it off
    │   └── EngineUnavailableError      4    the engine does not answer
    ├── ComposeUnavailableError         4    no usable Compose CLI
    ├── BackendUnavailableError         4    the selected builder or engine (Dagger) cannot be used
    ├── HomeError                       4    $MOORAGE_HOME cannot be used (read-only, full, newer version)
    ├── RunError                        5    a run failed, and its work was undone
    │   ├── ImageError                  5    an image could not be built or pulled
    │   │   └── TransientImageError     5    the same, for a reason that may pass: worth a retry
    │   ├── NotReadyError               5    a service did not become ready
    │   └── MemoryShortageError         5    there is not enough memory; nothing was started
    ├── UndoIncompleteError             6    the undo failed too: says what is left and which command removes it
    ├── BusyError                       7    another run holds the stack
    ├── HubError                        8    the Prefect server does not answer
    └── InterruptedRunError             130  Ctrl-C, SIGTERM or a cancel; undone

Errors survive pickling (Prefect moves them between processes): all state is the message, the hint and the fields.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Self

_BEGINNING, _END = 4000, 2000
"""How many characters of a long message are shown."""


class MoorageError(Exception):
    """An error that a person can act on.

    `hint` says what to do next; None: there is no advice to give. `fields` are the details (service, port, exit
    code, …) under stable names, for `--json` and for tests.
    """

    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str | None = None, **fields: Any) -> None:
        super().__init__(message)
        self.hint = hint
        self.fields = {key: value for key, value in fields.items() if value is not None}

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), str(self), self.hint, self.fields)

    def with_fields(self, **fields: Any) -> Self:
        """Add fields to this error and return it; existing fields are kept."""
        self.fields = {**{key: value for key, value in fields.items() if value is not None}, **self.fields}
        return self

    def censor(self, hide: Callable[[Any], Any]) -> None:
        """Replace message, hint and fields by what `hide` makes of them: without secrets."""
        self.args = (hide(str(self)),)
        self.hint, self.fields = hide(self.hint), hide(self.fields)

    def as_dict(self) -> dict[str, Any]:
        """For `--json`: error, message, hint, exit_code and the fields."""
        return {
            "error": type(self).__name__,
            "message": str(self),
            "hint": self.hint,
            "exit_code": self.exit_code,
            **self.fields,
        }


def said(error: BaseException) -> str:
    """The error in words; one that is not ours with its type, without which its words may say nothing."""
    return str(error) if isinstance(error, MoorageError) else f"{type(error).__name__}: {error}"


def _rebuild(kind: type[MoorageError], message: str, hint: str | None, fields: dict[str, Any]) -> MoorageError:
    return kind(message, hint=hint, **fields)


class DefinitionError(MoorageError):
    """The definition, a name or an option cannot be read or is not valid. Fields: file, service, key."""

    exit_code = 2


class UnsupportedKeyError(DefinitionError):
    """Compose supports this key and Moorage does not: refused rather than silently ignored."""


class UnsupportedByBackendError(DefinitionError):
    """The selected builder or engine does not support this key: refused, not ignored. Fields: backend, key."""


class OtherEngineError(DefinitionError):
    """The stack is on another engine than the one that is used: nothing was done. Fields: stack, address."""


class ArchiveError(DefinitionError):
    """A snapshot cannot be used, or something would be overwritten. Nothing was changed.

    Fields: path, reason (`damaged`, `unsafe`, `too large`, `exists`, `not empty`, …), member.
    """


class PortError(MoorageError):
    """No host port could be leased. Fields: port, service, target, holder."""

    exit_code = 3


class PortTakenError(PortError):
    """The engine reported a leased port as taken when the container was started. Fields: port, service."""


class EngineError(MoorageError):
    """The Docker engine refused or broke off a call. Fields: status."""

    exit_code = 4


class EngineUnavailableError(EngineError):
    """The Docker engine does not answer. Fields: address."""

    retryable = True


class ComposeUnavailableError(MoorageError):
    """No usable Compose CLI was found, or it did not answer in time."""

    exit_code = 4


class BackendUnavailableError(MoorageError):
    """The selected builder or engine cannot be used. Fields: backend."""

    exit_code = 4


class HomeError(MoorageError):
    """`$MOORAGE_HOME` cannot be used: read-only, no space, or written by a newer Moorage. Fields: path."""

    exit_code = 4


class RunError(MoorageError):
    """A run failed. Fields: stack, service, reason, undone, report."""

    exit_code = 5


class FleetError(RunError):
    """Some stacks of a fleet failed; each is undone, or as its own error says. Fields: rows (of all of them)."""


class ImageError(RunError):
    """An image could not be built or pulled, and trying again would not help. Fields: service, image, log."""


class TransientImageError(ImageError):
    """An image could not be built or pulled for a reason that may pass: network, time-out, busy registry."""

    retryable = True


class NotReadyError(RunError):
    """A service did not become ready.

    Fields: service, reason (`exited`, `oom`, `unhealthy`, `timeout`, `removed`), exit_code_of_service, probe (the last
    probe's output), log (the last lines), waited_s.
    """


class MemoryShortageError(RunError):
    """More memory is needed than is free, and the setting says not to begin. Nothing was touched.

    Fields: stack, missing_bytes, free_bytes, idlest (stacks that could be stopped).
    """


class UndoIncompleteError(MoorageError):
    """The undo failed too. Fields: stack, left (what is left), command (which removes it)."""

    exit_code = 6


class BusyError(MoorageError):
    """Another run holds the stack's lock. Fields: stack, operation, pid, since."""

    exit_code = 7


class HubError(MoorageError):
    """The Prefect server does not answer. Fields: api_url, log."""

    exit_code = 8


class InterruptedRunError(MoorageError):
    """The run was interrupted (Ctrl-C, SIGTERM, a cancel) and undone. Fields: stack, undone."""

    exit_code = 130


def shortened(message: str) -> str:
    """Beginning and end of a message that quotes a value nobody has written by hand; its secrets are hidden by now."""
    left_out = len(message) - _BEGINNING - _END
    if left_out <= 0:
        return message
    return f"{message[:_BEGINNING]} … {left_out} characters … {message[-_END:]}"
