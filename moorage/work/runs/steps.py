"""Performs one step. Each function checks the current state before it acts, because the plan may be stale."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial

from moorage.errors import (
    EngineError,
    EngineUnavailableError,
    MoorageError,
    NotReadyError,
    PortTakenError,
    RunError,
    said,
)
from moorage.model.definition import Hook, Service
from moorage.model.event import Action
from moorage.model.lease import Lease
from moorage.model.state import Container, SpanOutcome
from moorage.model.step import Step, StepKind
from moorage.rules import endings, graph, unforeseen
from moorage.work.definitions import sharing
from moorage.work.queries.last_lines import last_lines
from moorage.work.runs import images, init_containers, leasing, placeholders, port_ranges, reattaching, subnets
from moorage.work.runs.removal import remove
from moorage.work.runs.retries import retried
from moorage.work.runs.run import Run
from moorage.work.runs.still_there import first_gone
from moorage.work.runs.wait import LOG_LINES, Wait, not_ready
from moorage.work.threads import in_thread, in_thread_with_timeout, most_telling, uncancelled

_SETTLE_S = 3.0
_SETTLE_POLL_S = 0.05


async def perform(step: Step, run: Run) -> str:
    """Do one step, again if that may mend it, and tell about it. Gives a word on what was done.

    What is going to be tried again has not failed: its end is told once.
    """
    began = run.world.clock.monotonic()
    run.tell(Action.STARTED, step.id, step.why, service=step.service)
    try:
        done = await retried(_BY_KIND[step.kind], step, run)
    except asyncio.CancelledError:
        run.note(step, began, SpanOutcome.CUT_OFF)
        raise
    except MoorageError as error:
        run.note(step, began, SpanOutcome.FAILED)
        run.censor(error.with_fields(step=step.id, service=step.service))
        elapsed_s = run.world.clock.monotonic() - began
        facts = {key: value for key, value in error.fields.items() if key not in ("step", "service", "message")}
        run.tell(Action.FAILED, step.id, str(error), **{**facts, "service": step.service, "elapsed_s": elapsed_s})
        raise
    except Exception as error:  # not ours: it stays what it is, for the frame around the run to judge
        run.note(step, began, SpanOutcome.FAILED)
        run.tell(
            Action.FAILED, step.id, said(error), service=step.service, elapsed_s=run.world.clock.monotonic() - began
        )
        raise
    elapsed_s = run.world.clock.monotonic() - began
    action = Action.SKIPPED if done.startswith("already") else Action.DONE
    run.note(step, began, SpanOutcome.SKIPPED if action == Action.SKIPPED else SpanOutcome.DONE)
    run.tell(action, step.id, done, service=step.service, elapsed_s=elapsed_s)
    return done


async def lease(_step: Step, run: Run) -> str:
    """Lease the ports."""
    leases = await in_thread(lambda: leasing.lease(run))
    return ", ".join(f"{lease.key.service} {lease.key.target} at {lease.host_ip}:{lease.port}" for lease in leases)


async def create(step: Step, run: Run) -> str:
    """Pin the images, write the generation down, and let Compose create what it says."""
    told: set[str] = set()

    def tell(line: str) -> None:
        """What Compose did, each thing once; what it is about to do is its own business."""
        text = line.strip()
        if text not in told and text.endswith(("Created", "Recreated", "Removed")):
            told.add(text)
            run.tell(Action.PROGRESS, step.id, text)

    def call() -> str:
        generation = run.generation if run.planned is None and run.generation else run.pin()
        services, recreate = run.recreated
        recreate = recreate or bool(run.planned and run.desired.force_recreate)
        before = placeholders.give_names_back(run)
        try:
            file = subnets.create_with(
                *(run, generation, before),
                lambda file: run.world.compose.create(run.stack, file, sorted(services), recreate, tell),
            )
            after = reattaching.reattach(run, generation, file, services, tell)
        except EngineError as error:
            _let_settle(run, error.fields.get("unfinished", ()))
            raise
        sharing.check_created(run.world, generation, after)
        run.cut_off = unforeseen.cut_off(run.services, before, after)
        return f"generation {generation.number}"

    return await in_thread(call)


def _let_settle(run: Run, names: Sequence[str]) -> None:
    """Wait a while for what Compose had asked the engine for when it gave up, so that the undo sees it."""
    deadline = run.world.clock.monotonic() + _SETTLE_S
    with suppress(MoorageError):
        while names and run.world.clock.monotonic() < deadline:
            seen = run.world.engine.observe(run.stack)
            there = {*seen.networks, *seen.volumes, *(container.name for container in seen.containers)}
            names = [name for name in names if name not in there]
            time.sleep(_SETTLE_POLL_S)


async def start(step: Step, run: Run) -> str:
    """Start the containers of a service, its injected files written first, its post_start hooks run after."""
    service = run.services[step.service or ""]
    containers = await in_thread(lambda: run.world.engine.containers(run.stack, service.name))
    if not containers:
        message = f"services.{service.name}: there is no container"
        raise RunError(
            message, service=service.name, reason="removed", hint="It was removed by someone else; try again."
        )
    run.started[service.name] = run.world.clock.monotonic()
    one_shot = graph.is_one_shot(run.services, service.name) and service.name not in run.again
    once = one_shot or run.leaves_ended
    waiting = [c for c in containers if _is_to_start(run, c, once) or (c.is_up and c.id in run.unhooked)]
    if not waiting:
        return "already running"
    first = await init_containers.run_all(step, run, service, containers)
    ranges = await in_thread(lambda: port_ranges.leases_of(run, service.name)) if len(containers) > 1 else ()
    release = await in_thread(lambda: port_ranges.keep_off(run, ranges))
    try:
        await asyncio.gather(*(in_thread(partial(_start, run, service, c, ranges)) for c in waiting))
    finally:
        await uncancelled(in_thread(release))
    await init_containers.remove(run, first)
    return "started"


def _is_to_start(run: Run, container: Container, once: bool) -> bool:
    """`once`: not again if it has ended well."""
    return container.state != "running" and not (once and endings.ended_well(run.services, container))


def _advice(service: Service, complaint: str) -> str | None:
    """What next, where the engine's own words leave it open."""
    if "read-only" in complaint and service.inject:
        return "As it is read_only, its secrets and configs have to come from a `file`."
    if 'exec: "' in complaint and ("not found" in complaint or "no such file" in complaint):
        return "Are `command` and `entrypoint` spelt right, and is that program in the image?"
    if "could not select device driver" in complaint:
        return "The engine has no driver for the devices or GPUs that it reserves."
    return None


def _start(run: Run, service: Service, container: Container, ranges: Sequence[Lease]) -> None:
    if container.state != "running":  # else it was this run, which lost the engine's answer or a hook's
        _begin(run, service, container, ranges)
    for hook in service.post_start:
        _run_hook(run, service.name, "post_start", container, hook)
    run.unhooked.discard(container.id)


def _begin(run: Run, service: Service, container: Container, ranges: Sequence[Lease]) -> None:
    engine = run.world.engine
    run.unhooked.add(container.id)
    try:
        for file in service.inject:
            engine.put_file(container.id, file.target, file.content.encode(), file.mode, file.uid, file.gid)
        port_ranges.start(run, container, ranges)
    except PortTakenError as error:
        raise error.with_fields(service=service.name) from None
    except EngineUnavailableError:  # perhaps of a moment: the step is tried again
        raise
    except EngineError as error:
        log = last_lines(run.world, container.id, LOG_LINES)
        message = f"services.{service.name}: the engine cannot start it: {error}"
        hint = _advice(service, str(error)) or error.hint
        raise RunError(message, service=service.name, reason="not started", log=log, hint=hint) from None


def _run_hook(run: Run, service: str, kind: str, container: Container, hook: Hook) -> None:
    limit_s = run.world.settings.hook_timeout_s
    try:
        code, output = run.world.engine.exec(
            container.id,
            hook.command,
            user=hook.user,
            working_dir=hook.working_dir,
            environment=hook.environment,
            privileged=hook.privileged,
            timeout_s=limit_s,
        )
    except EngineError as error:
        if not error.fields.get("timed_out"):
            raise
        message = f"services.{service}.{kind}: {' '.join(hook.command)}: has not ended within {limit_s:g} s"
        hint = "Does it wait for something? MOORAGE_HOOK_TIMEOUT_S gives it more time."
        raise RunError(message, service=service, reason=f"{kind} failed", hint=hint) from None
    if code:
        message = f"services.{service}.{kind}: {' '.join(hook.command)}: exit code {code}: {output}"
        raise RunError(message, service=service, reason=f"{kind} failed", exit_code_of_service=code, probe=output)


async def ready(step: Step, run: Run) -> str:
    """Wait until all containers of a service are ready."""
    service = run.services[step.service or ""]
    containers = await in_thread(lambda: run.world.engine.containers(run.stack, service.name))
    if not containers:
        raise not_ready(service.name, "removed", None, "", "", 0.0)
    limit_s = run.request.wait_timeout_s if run.request else None
    waits = [Wait(run.world, run.services, service.name, limit_s) for _ in containers]
    try:
        async with asyncio.TaskGroup() as group:
            for wait, container in zip(waits, containers, strict=True):
                group.create_task(wait.until_ready(container))
    except BaseExceptionGroup as errors:
        return await _went_without(run, service, step, most_telling(errors))
    began = run.started.get(service.name, run.world.clock.monotonic())
    run.ready_s[service.name] = round(run.world.clock.monotonic() - began, 3)
    _tell_of_silence(run, step, service.name, sorted({port for wait in waits for port in wait.silent}))
    return f"ended with exit code {endings.good_exit(service)}" if all(wait.ended for wait in waits) else "ready"


def _tell_of_silence(run: Run, step: Step, name: str, ports: Sequence[int]) -> None:
    """One port that answers is enough where the definition does not say more; the others are told of."""
    if ports:
        which = f"port {ports[0]} does" if len(ports) == 1 else f"ports {', '.join(map(str, ports))} do"
        message = (
            f"services.{name}: {which} not answer yet, another one does; "
            f"`x-moorage: {{ready: {{tcp: {ports[0]}}}}}` waits for it, `tcp: true` for all"
        )
        run.tell(Action.NOTICE, step.id, message, service=name)


async def _reason(run: Run, error: NotReadyError) -> NotReadyError:
    """Why a service did not become ready: who waits in vain may wait for one that was ready and has ended since."""
    if error.fields["reason"] not in ("timeout", "unhealthy"):
        return error
    try:
        observed = await in_thread(lambda: run.world.engine.observe(run.stack))
        return await first_gone(run, sorted(run.ready_s), observed) or error
    except Exception:  # noqa: BLE001 - that it did not become ready is true in any case
        return error


async def _went_without(run: Run, service: Service, step: Step, error: BaseException) -> str:
    """Go on without a service that nobody requires; else raise."""
    if not isinstance(error, NotReadyError):
        raise error from None
    if not graph.is_optional(run.services, service.name):
        raise await _reason(run, error) from None
    run.missed.add(service.name)
    run.tell(Action.NOTICE, step.id, f"{error}; it is not required", service=service.name)
    return "not ready, and not required"


async def stop(step: Step, run: Run) -> str:
    """Stop the containers of a service, after its pre_stop hooks."""
    name = step.service or ""
    containers = await in_thread(lambda: run.world.engine.containers(run.stack, name))
    running = [c for c in containers if c.is_up]
    await asyncio.gather(*(_stop(run, name, c) for c in running))
    return "stopped" if running else "already stopped"


async def _stop(run: Run, name: str, container: Container) -> None:
    service, clock = run.services.get(name), run.world.clock
    grace_s = run.grace_s
    if grace_s is None:
        grace_s = (
            service.stop_grace_s if service and service.stop_grace_s is not None else run.world.settings.stop_grace_s
        )
    if service and service.pre_stop and run.force:
        began = clock.monotonic()
        try:
            await in_thread_with_timeout(lambda: _pre_stop(run, service, container), grace_s)
        except TimeoutError:  # it ends with the container
            run.tell(
                Action.NOTICE, f"stop {name}", f"a pre_stop hook is taking longer than {grace_s:g} s", service=name
            )
        grace_s = max(0.0, grace_s - (clock.monotonic() - began))
    elif service:
        await in_thread(lambda: _pre_stop(run, service, container))
    await in_thread(lambda: run.world.engine.stop(container.id, grace_s))


def _pre_stop(run: Run, service: Service, container: Container) -> None:
    for hook in service.pre_stop:
        try:
            _run_hook(run, service.name, "pre_stop", container, hook)
        except (EngineError, RunError) as error:  # as with Compose, a hook does not keep a service from stopping
            run.tell(Action.NOTICE, f"stop {service.name}", str(error), service=service.name)


_BY_KIND: dict[StepKind, Callable[[Step, Run], Awaitable[str]]] = {
    StepKind.LEASE: lease,
    StepKind.BUILD: images.build,
    StepKind.PULL: images.pull,
    StepKind.CREATE: create,
    StepKind.START: start,
    StepKind.READY: ready,
    StepKind.STOP: stop,
    StepKind.REMOVE: remove,
}
