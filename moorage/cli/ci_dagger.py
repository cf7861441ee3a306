"""`moorage ci --engine dagger`: the stack runs inside a Dagger session."""

from __future__ import annotations

import time

from moorage.cli.ci_run import LAST_LINES, CiRun
from moorage.errors import MoorageError
from moorage.model.definition import Source
from moorage.model.state import StackStatus
from moorage.rules import naming
from moorage.work.definitions.request import UpRequest
from moorage.work.ephemeral import artifacts as leaving
from moorage.work.ephemeral import stack
from moorage.work.ephemeral.dagger_stack import Throwaway


class DaggerCiRun(CiRun):
    """One `moorage ci` whose services run in Dagger: no container, network or volume on the Docker engine."""

    throwaway: Throwaway | None = None

    def request_of(self, source: Source) -> UpRequest:
        """The request, with a unique name; there is no need to check on an engine that no other stack has it."""
        base = self.asked.name_prefix or naming.derived_name(source.directory, None, None)
        name = stack.unique_name(base)
        return UpRequest(source=source, name=name, wait_timeout_s=self.asked.wait_timeout, builder="dagger")

    def up(self) -> StackStatus:
        """Start the services in a session. Raises UnsupportedByBackendError for what Dagger cannot do."""
        from moorage.adapters.dagger.sandbox import DaggerSandbox
        from moorage.show.secret_names import looks_secret
        from moorage.show.text import summary_text

        began = time.monotonic()
        try:
            with self.out.guarded(f"moorage up {self.stack} (dagger)"):
                sandbox = DaggerSandbox(self.world.settings, self.world.engine, looks_secret)
                self.throwaway = Throwaway(self.world, sandbox, self.request, expose=self.asked.expose)
                status = self.throwaway.up(self.out.say)
        finally:
            self.summary.up_s = time.monotonic() - began
        self.out.say(summary_text(status, self.summary.up_s, None, []))
        self.kept("addresses", lambda: leaving.save_addresses(self.artifacts, status))
        return status

    def end(self, owned: stack.EphemeralStack) -> int:
        """Stop all services in reverse order and end the session."""
        try:
            if self.throwaway:
                with self.out.guarded(f"moorage down {self.stack}"):
                    self.throwaway.down(self.out.say)
        except MoorageError as error:
            self.summary.left = error
            self.out.say(f"error: {error}")
            return error.exit_code
        owned.keep()  # nothing is left to be removed
        return 0

    def say_logs(self) -> None:
        """Show the last lines that Dagger logged: it keeps no log per service."""
        if self.throwaway and (lines := self.throwaway.log()):
            self.out.folded("log of Dagger", "\n".join(lines[-LAST_LINES:]))

    def save_services(self) -> None:
        """Save Dagger's log among the artifacts, as `logs/dagger.log`."""
        if self.throwaway:
            self.artifacts.write("logs/dagger.log", "\n".join(self.throwaway.log()) + "\n")
