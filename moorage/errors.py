"""Every error of Moorage. Each says where, what, and in `hint` what to do next.

    MoorageError                        exit 1
    ├── DefinitionError                 2    the compose file, a name, an option of the definition
    │   ├── UnsupportedKeyError         2    Compose would honour this key, Moorage does not
    │   ├── UnsupportedByBackendError   2    the builder or engine asked for has nothing for this key
    │   └── ArchiveError                2    a snapshot of a volume is damaged or unsafe, or would overwrite something
    ├── PortError                       3    no host port could be leased
    │   └── PortTakenError              3    the engine found a leased port taken (leads to another lease)
    ├── EngineError                     4    the engine refused or broke a call
    │   └── EngineUnavailableError      4    the engine does not answer
    ├── ComposeUnavailableError         4    no usable Compose CLI
    ├── BackendUnavailableError         4    Dagger was asked for and cannot be used
    ├── HomeError                       4    $MOORAGE_HOME cannot be used (read-only, full, newer version)
    ├── RunError                        5    a run failed, and what it did was undone
    │   ├── ImageError                  5    an image could not be built or pulled
    │   └── NotReadyError               5    a service did not become ready
    ├── UndoIncompleteError             6    the undo failed too: says what is left and what removes it
    ├── BusyError                       7    another run holds the stack
    ├── HubError                        8    the Prefect server does not answer
    └── InterruptedRunError             130  Ctrl-C, SIGTERM or a cancel; undone

Errors survive pickling (Prefect moves them between processes): all state is the message, the hint and the fields.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self


class MoorageError(Exception):
    """An error that a person can act on.

    `hint` is what to do next, None when there is nothing to advise. `fields` are the facts of the case (service,
    port, exit code, …) under stable names, for `--json` and for tests.
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
        """The same error with more facts; facts it already has are kept."""
        self.fields = {**{key: value for key, value in fields.items() if value is not None}, **self.fields}
        return self

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
    """What was asked for cannot be read or makes no sense. Fields: file, service, key."""

    exit_code = 2


class UnsupportedKeyError(DefinitionError):
    """Compose would honour this key and Moorage does not: refused rather than dropped in silence."""


class UnsupportedByBackendError(DefinitionError):
    """The builder or engine asked for has nothing for this key: named rather than dropped. Fields: backend, key."""


class ArchiveError(DefinitionError):
    """A snapshot cannot be used, or something would be overwritten. Nothing was touched.

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
    """A builder or engine was asked for by name and cannot be used. Fields: backend."""

    exit_code = 4


class HomeError(MoorageError):
    """`$MOORAGE_HOME` cannot be used: read-only, no space, or written by a newer Moorage. Fields: path."""

    exit_code = 4


class RunError(MoorageError):
    """A run failed. Fields: stack, service, reason, undone, report."""

    exit_code = 5


class ImageError(RunError):
    """An image could not be built or pulled, and trying again would not help. Fields: service, image, log."""


class TransientImageError(ImageError):
    """The same, for a cause that may pass: the network, a time-out, a registry that is busy."""

    retryable = True


class NotReadyError(RunError):
    """A service did not become ready.

    Fields: service, reason (`exited`, `oom`, `unhealthy`, `timeout`), exit_code_of_service, probe (the last probe's
    output), log (the last lines), waited_s.
    """


class UndoIncompleteError(MoorageError):
    """The undo failed too. Fields: stack, left (what is left), command (what removes it)."""

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
