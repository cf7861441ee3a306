"""Planted faults: small, likely mistakes in today's code, each of which the simulator has to find.

A table of texts: each `old` stands once in its file. It imports nothing of Moorage, so that a module can be planted
before it is loaded.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import NamedTuple

ROOT = Path(__file__).parents[3] / "moorage"


class Mutation(NamedTuple):
    """One planted fault."""

    name: str
    file: str
    old: str
    new: str

    @property
    def module(self) -> str:
        return "moorage." + self.file.removesuffix(".py").replace("/", ".")

    @property
    def path(self) -> Path:
        return ROOT / self.file

    @property
    def planted(self) -> str:
        """The source with the fault."""
        return self.path.read_text().replace(self.old, self.new)


_UNDO, _RECOVERY, _TRANSACTION = "work/runs/undo.py", "work/runs/recovery.py", "work/runs/transaction.py"
_COMMIT, _LIFECYCLE, _REMOVAL = "work/runs/commit.py", "work/runs/lifecycle.py", "work/runs/removal.py"
_LEFTOVERS = "work/operations/leftovers.py"
_COPIES, _RESTORE, _SNAPSHOT = "work/runs/volume_copies.py", "work/operations/restore.py", "work/operations/snapshot.py"
_GENERATIONS, _RULES = "work/definitions/generations.py", "rules/undo.py"

MUTATIONS = (
    # --- undo
    Mutation(
        "undo lets the dead one's Compose go on",
        _UNDO,
        "    await in_thread(lambda: world.compose.end_strays(record.stack))\n",
        "",
    ),
    Mutation("undo leaves new networks and volumes", _UNDO, "    left += await _remove_new(world, record)\n", ""),
    Mutation(
        "undo keeps the leases of the run",
        _UNDO,
        "    world.store.release_run(record.id)\n    world.store.restore(rules.leases_before(record))",
        "    world.store.restore(rules.leases_before(record))",
    ),
    Mutation(
        "undo does not lease again what the run gave up",
        _UNDO,
        "    world.store.release_run(record.id)\n    world.store.restore(rules.leases_before(record))",
        "    world.store.release_run(record.id)",
    ),
    Mutation(
        "undo forgets the generations of other runs",
        _UNDO,
        "        if generation.run == record.id:",
        "        if generation.run != record.id:",
    ),
    Mutation("undo leaves image tags", _UNDO, "        if tag not in before:", "        if tag in ():"),
    Mutation(
        "undo forgets a stack that was on record",
        _UNDO,
        '    if not record.before.get("on_record"):',
        '    if record.before.get("on_record"):',
    ),
    Mutation(
        "undo hides that it failed",
        _UNDO,
        '        return [f"generation {generation.number} of {record.stack} is not as it was: {error}"]',
        "        return []",
    ),
    Mutation(
        "undo holds no place for anonymous volumes",
        _UNDO,
        "        await in_thread(lambda: placeholders.hold_places"
        "(run, rules.holders(record, kept.containers, world.home)))\n",
        "",
    ),
    Mutation("undo spares no anonymous volumes", _UNDO, " | rules.volumes_before(record)", ""),
    Mutation(
        "undo leaves running what was off",
        _UNDO,
        'run.services, active, "undo", halting)',
        'run.services, active, "undo")',
    ),
    Mutation(
        "undo starts what was off",
        _UNDO,
        "frozenset(run.services) if all_of_it else rules.active_before(record, run.services, runs)",
        "frozenset(run.services)",
    ),
    Mutation(
        "undo keeps containers of the failed definition",
        _RULES,
        "    return before is not None and same and before.get",
        "    return True or before.get",
    ),
    Mutation(
        "undo stops what ran, not what was off",
        _RULES,
        "if c.service not in active and labels.ours",
        "if c.service in active and labels.ours",
    ),
    # --- the transaction around a run
    Mutation(
        "a run is closed before its undo",
        _TRANSACTION,
        "        left = await _undo_patiently(context, record)",
        "        await in_thread(lambda: world.store.close_run(record.id, outcome, world.clock.now()))\n"
        "        left = await _undo_patiently(context, record)",
    ),
    Mutation(
        "a run whose undo failed is closed as undone",
        _TRANSACTION,
        "        if left:\n            unfinished =",
        "        if False:\n            unfinished =",
    ),
    Mutation(
        "who takes the lock recovers nothing",
        _TRANSACTION,
        "            await to_the_end(recover(run.context, record))\n",
        "            pass\n",
    ),
    Mutation(
        "who does not get the lock goes on without",
        _TRANSACTION,
        "        except BusyError as error:\n            if run.world.clock",
        "        except BusyError as error:\n            return\n            if run.world.clock",
    ),
    Mutation(
        "the lock is given back too early",
        _TRANSACTION,
        "        run.began = world.clock.monotonic()\n        yield\n",
        "        run.began = world.clock.monotonic()\n        lock.release()\n        yield\n",
    ),
    Mutation(
        "what the engine refused once is closed as failed",
        _TRANSACTION,
        "    except (RunError, PortError) as error:",
        "    except MoorageError as error:",
    ),
    Mutation(
        "a failed start says undone, and undoes nothing",
        _TRANSACTION,
        "    left = await undo_and_close(run.context, run.record, RunOutcome.UNDONE) if run.record else []",
        "    left: list[str] = []",
    ),
    Mutation(
        "a start has effects before it is on record",
        "work/operations/up.py",
        "            await in_thread(lambda: run.open(planned.observed, _on_record(resolved)))\n"
        "            await _apply(run, planned)",
        "            await _apply(run, planned)\n"
        "            await in_thread(lambda: run.open(planned.observed, _on_record(resolved)))",
    ),
    Mutation(
        "the record does not say which leases there were",
        "work/runs/run.py",
        "                store.leases(self.stack),\n",
        "                (),\n",
    ),
    # --- commit
    Mutation("commit keeps leases that nothing needs", _COMMIT, "if lease.key not in keys]", "if lease.key in ()]"),
    Mutation("commit releases the leases it needs", _COMMIT, "if lease.key not in keys]", "if lease.key in keys]"),
    Mutation(
        "commit leaves the generation before as the current one",
        _COMMIT,
        "        generation=generation.number,\n        expires_at",
        "        generation=known.generation if known and known.generation else generation.number,\n        expires_at",
    ),
    Mutation(
        "leases are taken for good before the commit",
        "work/runs/leasing.py",
        "        run=run.id,\n        taken=",
        "        run=None,\n        taken=",
    ),
    # --- down
    Mutation(
        "down releases ports before the containers are gone",
        _LIFECYCLE,
        "    await carry_out(run, plan)\n    await in_thread(lambda: _forget(run.world, request))",
        "    await in_thread(lambda: _forget(run.world, request))\n    await carry_out(run, plan)",
    ),
    Mutation(
        "down forgets the stack with its ports alone",
        _LIFECYCLE,
        "    if request.release_ports and request.volumes:",
        "    if request.release_ports:",
    ),
    Mutation(
        "down takes volumes unasked",
        _LIFECYCLE,
        "    run.with_volumes = request.volumes\n",
        "    run.with_volumes = True\n",
    ),
    Mutation(
        "down removes volumes of others",
        _REMOVAL,
        'if not labels.ours(run.world.engine.owner("volume", name), run.stack, run.world.home):',
        "if not name:",
    ),
    Mutation(
        "down removes networks of others",
        _REMOVAL,
        'if not labels.ours(run.world.engine.owner("network", name), run.stack, run.world.home):',
        "if not name:",
    ),
    Mutation(
        "what is removed takes anonymous volumes along that were handed on",
        _REMOVAL,
        "    _remove_anonymous(run, anonymous - run.spared)",
        "    _remove_anonymous(run, anonymous | run.spared)",
    ),
    # --- recovery
    Mutation(
        "recovery does not undo a start",
        _RECOVERY,
        "        return await undo(run.context, record)\n",
        "        return []\n",
    ),
    Mutation(
        "recovery does not finish a down",
        _RECOVERY,
        "            await lifecycle.take_down(run, (await lifecycle.plan_down(run, request)).plan, request)",
        "            pass",
    ),
    Mutation(
        "recovery closes the run first",
        _RECOVERY,
        "    for _ in range(_TRIES):",
        "    context.world.store.close_run(record.id, RunOutcome.RECOVERED, context.world.clock.now())\n"
        "    for _ in range(_TRIES):",
    ),
    Mutation("recovery of a rollback does not commit it", _RECOVERY, "        await commit(run)\n", ""),
    Mutation(
        "recovery leaves the run open",
        _RECOVERY,
        "    await in_thread(lambda: world.store.close_run(record.id, outcome, world.clock.now()))",
        "    del outcome",
    ),
    Mutation(
        "recovery does not put a volume back",
        _RECOVERY,
        "        await volume_copies.put_back(run, record.arguments)\n",
        "",
    ),
    Mutation(
        "recovery gives up while the engine is away",
        _RECOVERY,
        "        except (EngineUnavailableError, HomeError):",
        "        except HomeError:",
    ),
    Mutation(
        "recovery of a snapshot starts nothing again",
        _RECOVERY,
        "            await volume_copies.wake(run, names)",
        "            pass",
    ),
    # --- volumes
    Mutation(
        "putting back discards the copy before the run is closed",
        _RESTORE,
        "    await close(run, RunOutcome.UNDONE)\n    await in_thread(lambda: volume_copies.discard(run))",
        "    await in_thread(lambda: volume_copies.discard(run))\n    await close(run, RunOutcome.UNDONE)",
    ),
    Mutation(
        "recovery discards a copy that cannot be read",
        _RECOVERY,
        "    if lost:\n        raise lost\n    if run.operation == Operation.RESTORE:\n"
        "        await in_thread(lambda: volume_copies.discard(run))\n",
        "    if run.operation == Operation.RESTORE:\n"
        "        await in_thread(lambda: volume_copies.discard(run))\n    if lost:\n        raise lost\n",
    ),
    Mutation(
        "putting back starts nothing again",
        _COPIES,
        '        await create(run, generation)\n    await wake(run, facts["services"])\n',
        "        await create(run, generation)\n",
    ),
    Mutation(
        "restore notes after the fact that it emptied the volume",
        _RESTORE,
        "    await volume_copies.renew(run, about.volume, about.users)",
        '    await in_thread(lambda: volume_copies.note(run, {**facts, "emptied": False}))\n'
        "    await volume_copies.renew(run, about.volume, about.users)\n"
        "    await in_thread(lambda: volume_copies.note(run, facts))",
    ),
    Mutation(
        "restore knows that it emptied the volume before that is on record",
        _RESTORE,
        '    await in_thread(lambda: volume_copies.note(run, {**facts, "emptied": True}))\n',
        '    facts["emptied"] = True\n    await in_thread(lambda: volume_copies.note(run, facts))\n',
    ),
    Mutation(
        "a run on record whose answer was lost is nobody's",
        "work/runs/run.py",
        "            if not self._is_on_record():\n                raise\n",
        "            raise\n",
    ),
    Mutation(
        "a recovery that is refused once is given up",
        _RECOVERY,
        "_TRIES = 2",
        "_TRIES = 1",
    ),
    Mutation(
        "sweep leaves files of forgotten generations",
        _LEFTOVERS,
        "    numbers |= set((await in_thread(partial(generations.strays, world, stack))).values())\n",
        "",
    ),
    Mutation(
        "restore makes no copy of what was there",
        _RESTORE,
        '    copy = await copying.interruptible(lambda stop: volume_copies.take_safety(about, Path(facts["safety"]), stop))\n'
        "    if not force and copy.contents.members > 1:  # a service has written to it before it was stopped\n"
        "        raise volume_copies.not_empty(about)\n",
        "",
    ),
    Mutation(
        "restore discards the copy before the run is closed",
        _RESTORE,
        "                await uncancelled(close(run, RunOutcome.COMMITTED))\n",
        "                volume_copies.discard(run)\n"
        "                await uncancelled(close(run, RunOutcome.COMMITTED))\n",
    ),
    Mutation(
        "snapshot starts nothing again",
        _SNAPSHOT,
        "            await uncancelled(volume_copies.wake(run, names))",
        "            pass",
    ),
    Mutation(
        "snapshot does not write down what rests",
        _SNAPSHOT,
        '{"services": list(resting), "unfinished"',
        '{"services": [], "unfinished"',
    ),
    Mutation(
        "prune takes no lock",
        "work/operations/prune.py",
        '        lock.acquire("volumes prune", 0)\n',
        "        pass\n",
    ),
    # --- generations and what is kept
    Mutation(
        "a generation loses its file before its record",
        _GENERATIONS,
        "    world.store.forget_generation(stack, number)\n    for ending in _ENDINGS:\n"
        '        world.files.remove(f"generations/{stack}/{number}.{ending}")',
        '    for ending in _ENDINGS:\n        world.files.remove(f"generations/{stack}/{number}.{ending}")\n'
        "    world.store.forget_generation(stack, number)",
    ),
    Mutation("images are not pinned", _GENERATIONS, "        world.engine.tag(found[0], tag)\n", "        pass\n"),
    Mutation("tags that are used are removed", _GENERATIONS, "if tag not in used)", "if tag in used)"),
    Mutation(
        "the current generation is pruned",
        "rules/retention.py",
        "        if record.number != current and (place >= number",
        "        if (place >= number",
    ),
    # --- without the lock, unlooked
    Mutation(
        "sweep recovers without the lock",
        _LEFTOVERS,
        "    async with locked(run, recovered):\n        pass\n",
        "    for record in context.world.store.unfinished_runs(stack):\n        await recovered(context, record)\n",
    ),
    Mutation(
        "ports are released without the lock",
        "work/operations/release_ports.py",
        '    lock.acquire("ports release", world.settings.lock_timeout_s)\n',
        "",
    ),
    Mutation(
        "ports of containers are released",
        "work/operations/release_ports.py",
        "            _check_unused(world, lease)\n",
        "            pass\n",
    ),
    Mutation(
        "an engine that is away is taken for a service that cannot start",
        "work/runs/steps.py",
        "    except EngineUnavailableError:  # perhaps of a moment: the step is tried again\n        raise\n",
        "",
    ),
)


class _Loader(SourceFileLoader):
    """Loads a module with its planted fault."""

    mutation: Mutation

    def get_code(self, _fullname: str) -> CodeType:
        return compile(self.mutation.planted, str(self.mutation.path), "exec")


class Plant(MetaPathFinder):
    """Plants one fault; to be made before Moorage is loaded."""

    def __init__(self, mutation: Mutation) -> None:
        assert "moorage" not in sys.modules
        self.mutation = mutation
        sys.meta_path.insert(0, self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self.mutation.module:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        assert spec
        assert spec.origin
        loader = _Loader(fullname, spec.origin)
        loader.mutation = self.mutation
        spec.loader = loader
        return spec
