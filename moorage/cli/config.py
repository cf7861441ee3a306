"""`moorage config`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from moorage.cli.options import Selection, request_of
from moorage.cli.output import as_json, say
from moorage.cli.world import open_world
from moorage.rules import composing
from moorage.work.definitions import resolve
from moorage.work.queries import plan


def config(
    *,
    selection: Selection = Selection(),  # noqa: B008 - frozen
    override: Annotated[
        bool, Parameter(help="Print the override file with which plain `docker compose` uses the same ports.")
    ] = False,
    show_secrets: Annotated[bool, Parameter(help="Do not hide secret values.")] = False,
    json: Annotated[bool, Parameter(help="No effect: the output is always JSON, which is also YAML.")] = False,
) -> int:
    """Show the definition as Compose resolves it, with the leased ports (a Compose file in JSON)."""
    del json  # the output is always JSON, which is also YAML
    world, request = open_world(), request_of(selection)
    resolved = resolve.resolve(world, request)
    leases = plan.preview_leases(world, resolved)
    if override:
        say(composing.override_text(resolved.definition, leases))
        return 0
    definition = resolve.with_leased_variables(world, resolved, leases)
    shown, _ = composing.compose_config(definition, leases, {}, world.home)
    if not show_secrets:
        from moorage.show.redaction import redact_config

        shown = redact_config(shown, (*definition.source.secret_values, *definition.hidden.secrets))
    as_json(shown)
    return 0
