"""`volumes prune` on a machine in memory."""

from __future__ import annotations

from moorage.rules import labels
from moorage.testing import FakeMachine, ManualClock, MemoryFiles, MemoryStore, fake_world
from moorage.work.operations.prune import prune, to_prune


def test_a_name_that_no_stack_can_have_stops_no_other():
    """Anybody may write a name onto a volume; a lock is named after it."""
    machine = FakeMachine(ManualClock())
    world = fake_world(machine, MemoryStore(), MemoryFiles())
    for name, stack in (("bad", "../../poetry"), ("good", "gone")):
        machine.add_volume(name, {labels.STACK: stack, labels.HOME: world.home})
    chosen, _ = to_prune(world, None, all_=False)
    gone, kept = prune(world, chosen)
    assert [one.name for one in gone] == ["good"]
    assert kept == ["bad: no stack can have the name '../../poetry'"]
    assert set(machine.volumes) == {"bad"}
