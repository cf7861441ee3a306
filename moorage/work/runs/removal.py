"""Removes our containers, networks and volumes, except volumes and networks that others use."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial

from moorage.errors import EngineError
from moorage.model.event import Action
from moorage.model.state import Container
from moorage.model.step import Step
from moorage.rules import labels, undo
from moorage.work.runs.run import Run
from moorage.work.threads import in_thread


async def remove(step: Step, run: Run) -> str:
    """Remove what a run created of a service; without a service: all containers of the stack, and its networks."""
    if step.service:
        return await _remove_service(step.service, run)
    engine = run.world.engine
    observed = await in_thread(lambda: engine.observe(run.stack))
    every = (*observed.containers, *observed.init_containers, *observed.one_offs)
    mine = [c for c in every if labels.ours(c.labels, run.stack, run.world.home)]
    await asyncio.gather(*(in_thread(partial(engine.remove, c.id, run.with_volumes)) for c in mine))
    for network in observed.networks:
        await in_thread(partial(_remove_network, run, network))
    if run.with_volumes:
        anonymous = {volume for c in mine for volume in undo.anonymous(c).values()}
        await in_thread(partial(_remove_anonymous, run, anonymous))
        for volume in observed.volumes:
            await in_thread(partial(_remove_volume, run, volume))
    return f"{len(mine)} containers, {len(observed.networks)} networks"


async def remove_unasked(run: Run, names: Iterable[str]) -> None:
    """Compose also makes what others depend on, be it that `down SERVICE` had taken it away."""
    for name in sorted(names):
        await _remove_service(name, run)


async def _remove_service(service: str, run: Run) -> str:
    containers = await in_thread(lambda: run.world.engine.containers(run.stack, service))
    containers += await in_thread(lambda: run.world.engine.init_containers(run.stack, service))
    new = [
        c
        for c in containers
        if c.id not in run.spared and labels.ours(c.labels, run.stack, run.world.home) and labels.HOLDER not in c.labels
    ]
    await asyncio.gather(*(in_thread(partial(stop_and_remove, run, c)) for c in new))
    return f"removed {len(new)} container{'' if len(new) == 1 else 's'}"


def stop_and_remove(run: Run, container: Container) -> None:
    """With a short grace period: what it did is thrown away, but volumes that existed before want a clean end."""
    engine = run.world.engine
    if container.state == "running":
        engine.stop(container.id, undo.grace_s(run.discarded, container.service, run.world.settings.undo_grace_s))
    anonymous = set(undo.anonymous(container).values())
    engine.remove(container.id, volumes=not anonymous & run.spared)
    _remove_anonymous(run, anonymous - run.spared)


def _remove_anonymous(run: Run, volumes: Iterable[str]) -> None:
    """Those that Compose has handed on from a container to its replacement: the engine takes them for named ones."""
    for volume in sorted(volumes):
        try:
            run.world.engine.remove_volume(volume)
        except EngineError as error:
            if "in use" not in str(error):
                raise


def _remove_volume(run: Run, name: str) -> None:
    """A volume that others use too stays, as with Compose."""
    if not labels.ours(run.world.engine.owner("volume", name), run.stack, run.world.home):
        return
    try:
        run.world.engine.remove_volume(name)
    except EngineError as error:
        if "in use" not in str(error):
            raise
        run.tell(Action.NOTICE, message=f"volume {name} is kept: other containers use it")


def _remove_network(run: Run, name: str) -> None:
    """A network that others use too stays, as with Compose."""
    if not labels.ours(run.world.engine.owner("network", name), run.stack, run.world.home):
        return
    try:
        run.world.engine.remove_network(name)
    except EngineError as error:
        if "active endpoints" not in str(error):
            raise
        run.tell(Action.NOTICE, message=f"network {name} is kept: other containers use it")
