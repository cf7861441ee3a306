"""`run`: prepares one container beside a stack, for one command; Compose runs it, and removes it afterwards."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from moorage.interfaces import World
from moorage.model.definition import Config, Definition
from moorage.rules import composing, injecting, part, subnets
from moorage.work.definitions import subnetting
from moorage.work.definitions.request import UpRequest
from moorage.work.definitions.resolve import Resolved, kept_beside, resolve
from moorage.work.operations.build import build
from moorage.work.queries.plan import plan_up
from moorage.work.runs.context import Context
from moorage.work.runs.foreign_errors import foreign_errors_named
from moorage.work.threads import in_thread


@dataclass(frozen=True)
class OneOff:
    """What Compose is to run."""

    stack: str
    file: Path
    environment: dict[str, str] = field(repr=False)
    """Variables that secrets and configs of the service take their values from."""


def needed_by(resolved: Resolved, service: str) -> tuple[str, ...]:
    """The services that have to be up before a container of this one runs."""
    services = resolved.definition.services
    return tuple(sorted(name for name in services if name != service and services[name].replicas))


@foreign_errors_named()
async def prepare(context: Context, request: UpRequest, service: str) -> OneOff:
    """Build or pull the service's image if it is not there, and write the file that Compose reads.

    Raises DefinitionError, ImageError.
    """
    world = context.world
    alone = request.model_copy(update={"services": (service,), "no_deps": True})
    resolved = await in_thread(lambda: resolve(world, alone))
    planned = await plan_up(world, resolved, to_start=False)
    if planned.desired.images[service].action:
        await build(context, alone)
    return await in_thread(lambda: _written(world, resolved, planned.desired.definition, service))


def _written(world: World, resolved: Resolved, definition: Definition, service: str) -> OneOff:
    stack = definition.name
    kept = kept_beside(world, definition, resolved.request)
    config = part.joined(composing.one_off_config(definition, service, world.home), kept)
    leased = subnetting.lease(world, config, definition.services, world.engine.observe(stack))
    config = subnets.with_subnets(config, leased)
    file = world.files.write(f"generations/{stack}/run-{service}.compose.json", composing.file_text(config))
    return OneOff(stack, file, _variables(world, definition, config))


def _variables(world: World, definition: Definition, config: Config) -> dict[str, str]:
    """The values that Compose writes into the container: they need not be in our own environment."""
    wanted = sorted(set(injecting.from_environment(config).values()))
    return world.compose.variables(definition.source, wanted, definition.name) if wanted else {}
