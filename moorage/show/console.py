"""The console of a CI job: groups, quoted output and annotations, for GitHub Actions, GitLab or plain text."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TextIO

from moorage.show.formatting import clean
from moorage.show.outlet import Outlet


class Console:
    """Plain output; subclasses use the syntax of a CI server."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.time) -> None:
        self._out = Outlet(stream)  # a reader that is gone must not prevent the removal of a stack
        self._clock = clock

    def say(self, text: str) -> None:
        """Write Moorage's own text."""
        self._out.line(text.rstrip("\n"))

    @contextmanager
    def group(self, title: str) -> Iterator[None]:
        """A group of lines that belong together."""
        self.say(f"── {title} ".ljust(72, "─"))
        yield

    @contextmanager
    def guarded(self, title: str) -> Iterator[None]:
        """A group that also contains untrusted output, such as that of builds and services."""
        with self.group(title):
            yield

    def folded(self, title: str, text: str) -> None:
        """Untrusted text, in a group of its own."""
        with self.group(title):
            self.quote(text)

    def quote(self, text: str) -> None:
        """Untrusted text: printed, never interpreted as commands."""
        if text.strip():
            self.say(clean(text))

    def error(self, title: str, message: str, file: str | None = None, line: int | None = None) -> None:
        """Annotate a line of a file. Plain output does nothing: the error itself was printed."""


class GitHubConsole(Console):
    """Workflow commands of GitHub Actions (docs.github.com, "Workflow commands for GitHub Actions")."""

    @contextmanager
    def group(self, title: str) -> Iterator[None]:
        """A collapsible group."""
        self.say(f"::group::{_data(title)}")
        try:
            yield
        finally:
            self.say("::endgroup::")

    @contextmanager
    def guarded(self, title: str) -> Iterator[None]:
        """A group between `stop-commands`: untrusted output must not set the job's variables."""
        token = f"moorage-{secrets.token_hex(8)}"
        with self.group(title):
            self.say(f"::stop-commands::{token}")
            try:
                yield
            finally:
                self.say(f"::{token}::")

    def quote(self, text: str) -> None:
        """Untrusted text between `stop-commands`."""
        if text.strip():
            token = f"moorage-{secrets.token_hex(8)}"
            self.say(f"::stop-commands::{token}\n{clean(text)}\n::{token}::")

    def error(self, title: str, message: str, file: str | None = None, line: int | None = None) -> None:
        """An annotation, on the line if that is known."""
        places = {"file": file, "line": line if file else None, "title": title}
        properties = ",".join(f"{key}={_property(str(value))}" for key, value in places.items() if value)
        self.say(f"::error {properties}::{_data(clean(message))}")


class GitLabConsole(Console):
    """Collapsible sections of GitLab (docs.gitlab.com, "Job logs")."""

    @contextmanager
    def group(self, title: str) -> Iterator[None]:
        """A section, open at first: collapsed ones are easily missed."""
        with self._section(title, collapsed=False):
            yield

    def folded(self, title: str, text: str) -> None:
        """A section that is collapsed at first."""
        with self._section(title, collapsed=True):
            self.quote(text)

    @contextmanager
    def _section(self, title: str, *, collapsed: bool) -> Iterator[None]:
        name = f"moorage_{re.sub(r'[^a-z0-9]+', '_', title.lower()).strip('_')}_{secrets.token_hex(2)}"
        folded = "[collapsed=true]" if collapsed else ""
        self.say(f"\x1b[0Ksection_start:{int(self._clock())}:{name}{folded}\r\x1b[0K{clean(title)}")
        try:
            yield
        finally:
            self.say(f"\x1b[0Ksection_end:{int(self._clock())}:{name}\r\x1b[0K")


def console(environment: Mapping[str, str], stream: TextIO) -> Console:
    """The console for this environment: GITHUB_ACTIONS, GITLAB_CI, else plain text."""
    if environment.get("GITHUB_ACTIONS") == "true":
        return GitHubConsole(stream)
    return GitLabConsole(stream) if environment.get("GITLAB_CI") else Console(stream)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
