"""Fakes of the outside world, for tests of Moorage and of projects that build on it.

They pass the same contract suite as the real adapters. A world without an engine, and one whose process dies:

    machine, store, files = FakeMachine(), MemoryStore(), MemoryFiles()
    machine.add_image("app:1", ["sleep", "600"])
    world = fake_world(machine, store, files)
    dying = faulty(world, fail_at(7, kill=True))

programs      commands of containers, as far as tests need them
machine       containers, networks, volumes, images, and the rules of the daemon
engine        `interfaces.Engine` on it
composefile   compose files written as JSON, in canonical form
compose       `interfaces.Compose` on it
event_loop    which calls of adapters block the event loop
faults        the n-th effect fails, or the process dies there; any call raises what is not Moorage's
store, files  the registry and the files of `$MOORAGE_HOME`, in memory
locks         locks of stacks, which end with their process
world         probes and build contexts
"""

from moorage.testing.builder import FakeBuilder
from moorage.testing.clock import ManualClock
from moorage.testing.compose import FakeCompose
from moorage.testing.engine import FakeEngine
from moorage.testing.event_loop import LoopGuard
from moorage.testing.faults import Fault, ForeignFault, Killed, around_every_call, fail_at, faulty
from moorage.testing.files import MemoryFiles
from moorage.testing.locks import MemoryLocks
from moorage.testing.machine import FakeMachine
from moorage.testing.store import MemoryStore
from moorage.testing.streams import FakeStreams
from moorage.testing.volumes import FakeVolumes
from moorage.testing.world import FakeProber, MemoryContexts, fake_world

__all__ = [
    "FakeBuilder",
    "FakeCompose",
    "FakeEngine",
    "FakeMachine",
    "FakeProber",
    "FakeStreams",
    "FakeVolumes",
    "Fault",
    "ForeignFault",
    "Killed",
    "LoopGuard",
    "ManualClock",
    "MemoryContexts",
    "MemoryFiles",
    "MemoryLocks",
    "MemoryStore",
    "around_every_call",
    "fail_at",
    "fake_world",
    "faulty",
]
