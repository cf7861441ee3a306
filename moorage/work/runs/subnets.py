"""Creates what Compose is to create with leased subnets, and with others if something has them already."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from moorage.errors import EngineError
from moorage.model.event import Action
from moorage.model.generation import Generation
from moorage.model.state import Observed
from moorage.rules.subnets import is_overlap
from moorage.work.definitions import generations, subnetting
from moorage.work.runs.run import Run

_TRIES = 5


def create_with(run: Run, generation: Generation, observed: Observed, create: Callable[[Path], None]) -> Path:
    """Create from the file of a generation, which is returned. `observed`: what there is before.

    The engine says beforehand which subnets its networks have, but not what else it takes for in use, and others create
    networks too. Which of several subnets it refuses, it does not say: all that no network has are given up. After
    some tries it chooses itself.
    """
    world, refused = run.world, set[str]()
    for _ in range(_TRIES):
        leased = subnetting.lease(world, generation.config, run.services, observed, refused)
        subnetting.lease_addresses(world, generation.config, generation.services, observed, leased)
        file = generations.compose_file(world, generation)
        try:
            create(file)
        except EngineError as error:
            observed = world.engine.observe(run.stack)
            free = {one.subnet for one in leased if one.network not in observed.subnets}
            if not free or not is_overlap(str(error)):
                raise
            refused |= free
            run.tell(Action.RETRY, "create", f"subnet {', '.join(sorted(free))} is in use: leasing another")
        else:
            return file
    leased = subnetting.lease(world, generation.config, run.services, observed, world.settings.subnets.split(","))
    subnetting.lease_addresses(world, generation.config, generation.services, observed, leased)
    file = generations.compose_file(world, generation)
    create(file)
    return file
