"""The console of a CI job: groups, quoted output and annotations, as GitHub Actions, GitLab or plain text want them."""

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
    """Plain output; the others say the same in their own way."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.time) -> None:
        self._out = Outlet(stream)  # a reader that has gone must not keep a stack from being removed
        self._clock = clock

    def say(self, text: str) -> None:
        """Write words of ours."""
        self._out.line(text.rstrip("\n"))

    @contextmanager
    def group(self, title: str) -> Iterator[None]:
        """Lines that belong together."""
        self.say(f"── {title} ".ljust(72, "─"))
        yield

    @contextmanager
    def guarded(self, title: str) -> Iterator[None]:
        """A group in which others write too, what builds and services say among it."""
        with self.group(title):
            yield

    def folded(self, title: str, text: str) -> None:
        """Other people's text, in a group of its own."""
        with self.group(title):
            self.quote(text)

    def quote(self, text: str) -> None:
        """Other people's text: printed, never obeyed."""
        if text.strip():
            self.say(clean(text))

    def error(self, title: str, message: str, file: str | None = None, line: int | None = None) -> None:
        """A note on a place in a file. Plain output has none: the error itself was printed."""


class GitHubConsole(Console):
    """Workflow commands of GitHub Actions (docs.github.com, "Workflow commands for GitHub Actions")."""

    @contextmanager
    def group(self, title: str) -> Iterator[None]:
        """A group that can be folded."""
        self.say(f"::group::{_data(title)}")
        try:
            yield
        finally:
            self.say("::endgroup::")

    @contextmanager
    def guarded(self, title: str) -> Iterator[None]:
        """Between `stop-commands`: what others write must not set the job's variables."""
        token = f"moorage-{secrets.token_hex(8)}"
        with self.group(title):
            self.say(f"::stop-commands::{token}")
            try:
                yield
            finally:
                self.say(f"::{token}::")

    def quote(self, text: str) -> None:
        """The same for a text."""
        if text.strip():
            token = f"moorage-{secrets.token_hex(8)}"
            self.say(f"::stop-commands::{token}\n{clean(text)}\n::{token}::")

    def error(self, title: str, message: str, file: str | None = None, line: int | None = None) -> None:
        """An annotation, on the line where that is known."""
        places = {"file": file, "line": line if file else None, "title": title}
        properties = ",".join(f"{key}={_property(str(value))}" for key, value in places.items() if value)
        self.say(f"::error {properties}::{_data(clean(message))}")


class GitLabConsole(Console):
    """Collapsible sections of GitLab (docs.gitlab.com, "Job logs")."""

    @contextmanager
    def group(self, title: str) -> Iterator[None]:
        """A section; open, as one has to look for folded ones."""
        with self._section(title, collapsed=False):
            yield

    def folded(self, title: str, text: str) -> None:
        """A section that is folded at first."""
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
    """The console that the environment speaks of: GITHUB_ACTIONS, GITLAB_CI, else plain."""
    if environment.get("GITHUB_ACTIONS") == "true":
        return GitHubConsole(stream)
    return GitLabConsole(stream) if environment.get("GITLAB_CI") else Console(stream)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
