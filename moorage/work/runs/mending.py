"""What a heal does to a stack whose lock is held; running it again finishes an interrupted one."""

from __future__ import annotations

from moorage.model.state import Observed
from moorage.model.step import Plan, Step, StepKind
from moorage.rules import graph, restarting
from moorage.work.definitions import generations
from moorage.work.runs import lifecycle
from moorage.work.runs.run import Run
from moorage.work.runs.scheduler import carry_out
from moorage.work.threads import in_thread


async def mend(run: Run, observed: Observed, anew: frozenset[str], names: list[str]) -> None:
    """The steps of a heal; doing them again finishes what was cut off."""
    known = await in_thread(lambda: generations.current(run.world, run.stack))
    if known is None:  # its file was lost meanwhile: nothing says what should be there
        return
    services = dict(known.services)
    surplus = [name for name in names if name not in services]
    steps = tuple(Step(kind=StepKind.REMOVE, service=name, why="it is in no generation") for name in surplus)
    if steps:
        await carry_out(run, Plan(stack=run.stack, operation=run.operation, steps=steps))
    wanted = [name for name in names if name in services]
    if not wanted:
        return
    run.services, run.generation = services, known
    ready = await lifecycle.ready_ones(run, observed, services)
    chosen = restarting.choose(services, observed, wanted, ready - set(wanted))
    chosen = lifecycle.with_recreated(chosen.model_copy(update={"create": chosen.create | anew}), known, observed)
    run.again = frozenset(name for name in chosen.again if not graph.is_one_shot(services, name) or name in wanted)
    run.recreated = (chosen.create, True)
    plan = restarting.restart_plan(run.stack, services, observed, chosen, ready - set(wanted))
    await carry_out(run, plan)
