"""The commit of a start: after one write transaction, its generation is the current one."""

from __future__ import annotations

from datetime import timedelta

from moorage.errors import said
from moorage.model.event import Action
from moorage.model.generation import Generation, GenerationOutcome, GenerationRecord
from moorage.model.state import Observed, RunOutcome, StackRecord, StackState, StackStatus
from moorage.model.step import Operation
from moorage.rules import composing, endings
from moorage.work.definitions import generations
from moorage.work.queries.status import notices_of, service_status
from moorage.work.runs.run import Run
from moorage.work.runs.still_there import first_gone
from moorage.work.threads import in_thread


async def commit(run: Run) -> None:
    """Look once more, and write down that the generation is current. To be called uncancelled.

    It is the end of the frame: what it raises, it raises before the generation is current, so there is something to
    undo. What is left to do afterwards is `after_commit`, outside of the frame.
    """
    observed = await in_thread(lambda: run.world.engine.observe(run.stack))
    await _check_all_there(run, observed)
    await in_thread(lambda: _write_down(run))
    run.committed = observed


def after_commit(run: Run) -> StackStatus:
    """Tidy up, and give the status of what was committed. Raises nothing: what is done stays done."""
    _tidy(run)
    return status_of_committed(run)


def keep(run: Run) -> None:
    """Write down that a start that failed is kept as it is: it is listed, and has what it leased.

    What it was to become stands among the generations as `kept`, and is not the current one.
    """
    generation, store = run.generation, run.world.store
    assert generation is not None  # noqa: S101 - nothing else is kept
    for record in store.generations(run.stack):
        if record.number == generation.number and record.outcome == GenerationOutcome.PENDING:
            store.save_generation(record.model_copy(update={"outcome": GenerationOutcome.KEPT}))
    if store.stack(run.stack) is None:
        store.save_stack(_stack_record(run, generation).model_copy(update={"generation": None}))
    store.commit_run(run.id)


def status_of_committed(run: Run) -> StackStatus:
    """The status by the look before the commit, when all but the optional was ready.

    For after the commit: neither engine nor registry can break off any more what is done. Raises nothing.
    """
    observed, generation = run.committed, run.generation
    assert observed is not None and generation is not None  # noqa: S101, PT018 - for what is committed only
    names = sorted({*run.services, *(c.service for c in observed.containers)})
    services = {
        name: service_status(observed.of(name), ready=_is_ready(run, name, observed), time_s=_time_to_ready(run, name))
        for name in names
    }
    # Of what was not asked for, what is not there was taken down on purpose.
    wanted = [
        name for name, one in run.services.items() if one.replicas and (name not in run.kept or observed.of(name))
    ]
    ready = all(services[name].ready for name in wanted)
    return StackStatus(
        stack=run.stack,
        path=str(generation.source.directory),
        state=StackState.RUNNING if ready else StackState.DEGRADED,
        generation=generation.number,
        services=services,
        networks=observed.networks,
        engine=run.record.engine.words if run.record and run.record.engine else "",
        shared_networks=composing.shared_networks(generation.config),
        notices=notices_of(generation, observed),
    )


def _is_ready(run: Run, service: str, observed: Observed) -> bool:
    """What was asked for is; of the others, what the engine says."""
    if service not in run.kept:
        return service not in run.missed
    containers, known = observed.of(service), run.services[service]
    return len(containers) == known.replicas and all(
        endings.ended_well(run.services, c) or (c.state == "running" and c.health in (None, "healthy"))
        for c in containers
    )


def _time_to_ready(run: Run, service: str) -> float | None:
    """Seconds; what was not started in this run, the last time. None: not known."""
    if service in run.ready_s:
        return run.ready_s[service]
    try:
        return next(iter(run.world.store.timings(run.stack, service, "ready", 1)), None)
    except Exception:  # noqa: BLE001 - whatever it is, it must not hide what is committed
        return None


async def _check_all_there(run: Run, observed: Observed) -> None:
    """What became ready may have ended while others started."""
    names = [n for n, s in run.services.items() if s.replicas and n not in run.missed and n not in run.kept]
    if error := await first_gone(run, names, observed):
        raise error


def _write_down(run: Run) -> None:
    """The commit itself. Before it a crash is undone, after it there is nothing to undo."""
    # Where nothing had to be created the definition may still differ from what is on record.
    generation = run.generation or run.pin()
    run.generation = generation
    record = run.record
    assert record is not None  # noqa: S101 - a run is written down before its first effect
    now = run.world.clock.now()
    ended = {"outcome": RunOutcome.COMMITTED, "finished_at": now}
    ended |= {"generation": generation.number, "spans": tuple(run.spans)}
    closed = record.model_copy(update=ended)
    keys = composing.lease_keys(run.stack, run.services)
    stack, records = _stack_record(run, generation), _generation_records(run, generation)
    released = [lease.key for lease in run.world.store.leases(run.stack) if lease.key not in keys]
    try:
        run.world.store.commit(closed, stack, records, released)
    except Exception:
        # The registry knows whether it is done, not the call: its answer may have been lost.
        if not run.is_closed_as(RunOutcome.COMMITTED):
            raise


def _generation_records(run: Run, generation: Generation) -> list[GenerationRecord]:
    """Those that the commit changes: the one that is current now, the one that was."""
    changed = []
    elapsed_s = round(run.world.clock.monotonic() - run.began, 3)
    for record in run.world.store.generations(run.stack):
        if record.number == generation.number:
            time_s = elapsed_s if record.time_to_ready_s is None else record.time_to_ready_s
            now_current = {"outcome": GenerationOutcome.CURRENT, "superseded_at": None, "time_to_ready_s": time_s}
            changed.append(record.model_copy(update=now_current))
        elif record.outcome == GenerationOutcome.CURRENT:
            superseded = {"outcome": GenerationOutcome.SUPERSEDED, "superseded_at": run.world.clock.now()}
            changed.append(record.model_copy(update=superseded))
    return changed


def _stack_record(run: Run, generation: Generation) -> StackRecord:
    world = run.world
    known = world.store.stack(run.stack)
    try:
        repository, branch, _ = world.place(generation.source.directory)
    except Exception:  # noqa: BLE001 - whatever git says, it is only shown
        repository, branch = (known.repository, known.branch) if known else (None, None)
    now = world.clock.now()
    ttl_s = (run.request.ttl_s if run.request else None) or (run.desired.definition.ttl_s if run.planned else None)
    expires_at = now + timedelta(seconds=ttl_s) if ttl_s else None
    keeps = run.operation == Operation.ROLLBACK or (run.kept and ttl_s is None)
    if keeps and known:
        expires_at = known.expires_at
    return StackRecord(
        name=run.stack,
        path=str(generation.source.directory),
        created_at=known.created_at if known else now,
        generation=generation.number,
        expires_at=expires_at,
        repository=repository,
        branch=branch,
        production=run.context.for_production or (known is not None and known.production),
        engine=run.record.engine if run.record else None,
    )


def _tidy(run: Run) -> None:
    """What may fail without harm, whatever it fails by: the stack is committed, and `sweep` tidies up what is left."""
    for what, work in (("the times to ready", remember_times), ("old generations", _prune)):
        try:
            work(run)
        except Exception as error:  # noqa: BLE001 - a start that is committed is never undone
            run.tell(Action.NOTICE, message=f"clean-up failed, of {what}: {said(error)}")


def remember_times(run: Run) -> None:
    """Write down how long each service took that the run has started."""
    store, number = run.world.store, run.generation.number if run.generation else 0
    for name, seconds in run.ready_s.items():
        now, keep = run.world.clock.now(), run.world.settings.keep_timings
        store.add_timing(run.stack, name, number, "ready", seconds, now, keep=keep)


def _prune(run: Run) -> None:
    generations.prune(run.world, run.stack)
