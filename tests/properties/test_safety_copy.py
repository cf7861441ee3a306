"""What was in a volume that is being restored: in the volume, or in a copy that can be read, at every moment."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from moorage.errors import EngineError, HomeError, InterruptedRunError, MoorageError, UndoIncompleteError
from moorage.interfaces import World
from moorage.model.request import RestoreRequest, SweepRequest
from moorage.model.state import RunOutcome
from moorage.rules import labels
from moorage.testing import around_every_call, faulty
from moorage.work.operations.restore import restore
from moorage.work.operations.sweep import sweep
from moorage.work.runs.context import Context
from tests.properties.foreign import archive_of, restored
from tests.properties.memory import STACK
from tests.properties.pairs import with_more
from tests.properties.transactions import Transactions

pytestmark = pytest.mark.usefixtures("without_threads_and_time")
NAME = f"{STACK}_data"


@pytest.fixture
def stack() -> Iterator[Transactions]:
    made = Transactions()
    made.begin()
    with_more(made)
    yield made
    made.teardown()


def content(stack: Transactions) -> dict[str, str]:
    return dict(stack.machine.volumes[NAME].files)


def copies(stack: Transactions) -> list[Path]:
    return sorted((stack.folder / "home" / "snapshots" / STACK).glob("before-*.tar.zst"))


def swept(stack: Transactions, world: World | None = None) -> Any:
    return asyncio.run(sweep(Context(world or stack.world()), SweepRequest()))


def killed_when_emptied(stack: Transactions) -> None:
    """The volume is there again and has nothing in it."""
    effects = iter(range(1, 100))
    while True:
        if not stack.dies(restored(stack), next(effects)):
            raise AssertionError("it is never empty")
        if stack.machine.volumes.get(NAME) and not content(stack):
            return
        stack.recover(0)


@pytest.mark.parametrize("how", ["damaged", "cut off", "gone"])
def test_a_volume_is_left_alone_when_its_copy_cannot_be_read(stack: Transactions, how: str) -> None:
    """Today's content may be all there is: whatever is in the volume stays, and it is told, once, as an error."""
    killed_when_emptied(stack)
    stack.machine.volumes[NAME].files["half"] = "restored"
    (copy,) = copies(stack)
    whole = copy.read_bytes()
    if how == "gone":
        copy.unlink()
    else:
        copy.write_bytes(whole[: len(whole) // 2] if how == "cut off" else whole[:-40] + b"?" + whole[-39:])
    (found,) = [one for one in swept(stack) if one.kind == "unfinished run"]
    assert NAME in str(found.error)
    assert content(stack) == {"half": "restored"}
    assert stack.store.runs(STACK)[0].outcome == RunOutcome.RECOVERY_INCOMPLETE
    swept(stack)
    assert copies(stack) == ([] if how == "gone" else [copy]), "somebody may still get something out of it"
    asyncio.run(stack.up(stack.world()))


def test_nothing_runs_on_a_volume_that_has_not_got_its_content_back(stack: Transactions) -> None:
    """The engine cannot fill it: the next command is refused, says where the content is, and the one after ends it."""
    before = content(stack)
    killed_when_emptied(stack)

    def full(words: str, call: Any) -> Any:
        if words.startswith("volumes write"):
            raise OSError(28, "no space left on device")
        return call()

    (found,) = [one for one in swept(stack, around_every_call(stack.world(), full)) if one.kind == "unfinished run"]
    assert "no space left" in str(found.error)
    with pytest.raises(UndoIncompleteError) as refused:
        asyncio.run(stack.up(around_every_call(stack.world(), full)))
    assert str(copies(stack)[0]) in str(refused.value.hint)
    asyncio.run(stack.up(stack.world()))
    assert content(stack) == before
    assert copies(stack) == []


@pytest.mark.parametrize("failing", ["close", "every write"])
def test_a_registry_that_is_locked_when_a_restore_is_to_be_closed(stack: Transactions, failing: str) -> None:
    """A full disk, too. The copy goes only when the record is closed, so the next one has it."""
    before = content(stack)

    def locked(words: str, call: Any) -> Any:
        writes = words.startswith(("store update_run", "store close_run"))
        if writes and (failing == "every write" or NAME not in stack.machine.volumes or "later" not in content(stack)):
            raise HomeError("database is locked")
        return call()

    with pytest.raises(MoorageError):
        asyncio.run(restored(stack)(around_every_call(stack.world(), locked)))
    assert content(stack) == before or copies(stack)
    stack.recover(0)
    assert content(stack) == before
    assert copies(stack) == []
    assert stack.store.unfinished_runs() == ()


@pytest.mark.parametrize("n", range(4, 34, 3))
def test_ctrl_c_again_and_again(stack: Transactions, n: int) -> None:
    """At an effect, at the next and at the one after, so also while the old content is put back."""
    before, seen = content(stack), 0

    async def pressed() -> None:
        loop = asyncio.get_running_loop()

        def press(_effect: str) -> None:
            nonlocal seen
            seen += 1
            if n <= seen < n + 3:
                loop.call_soon_threadsafe(task.cancel)

        task = asyncio.ensure_future(restored(stack)(faulty(stack.world(), press)))
        await task

    try:
        asyncio.run(pressed())
    except (InterruptedRunError, asyncio.CancelledError):
        stack.recover(0)
        assert content(stack) == before
    else:
        assert content(stack) == {"kept": f"what {STACK}-db-1 wrote"}
    assert copies(stack) == []
    assert stack.store.unfinished_runs() == ()


def test_what_a_service_writes_before_it_is_stopped_is_not_lost(stack: Transactions) -> None:
    """Empty when it was looked at; then a service wrote: without --force that is not replaced."""
    stack.machine.volumes[NAME].files.clear()

    def writes(effect: str) -> None:
        if effect.startswith("engine stop"):
            stack.machine.volumes[NAME].files["last"] = "word"

    request = RestoreRequest(stack=STACK, source=archive_of(stack), force=False)
    with pytest.raises(MoorageError, match="not empty"):
        asyncio.run(restore(Context(faulty(stack.world(), writes)), request))
    assert content(stack) == {"last": "word"}
    # With --force, a failure afterwards gives it back: the copy is made when nothing writes any more.
    stack.machine.volumes[NAME].files.clear()
    world = faulty(stack.world(), writes)
    calls = {"volumes write": 0}

    def once(words: str, call: Any) -> Any:
        if words.startswith("volumes write") and not calls["volumes write"]:
            calls["volumes write"] = 1
            raise RuntimeError("made to fail")
        return call()

    with pytest.raises(MoorageError):
        asyncio.run(restore(Context(around_every_call(world, once)), request.model_copy(update={"force": True})))
    assert content(stack) == {"last": "word"}


class Late:
    """The engine does not answer when the volume is to be removed, and does it `delay` calls later."""

    def __init__(self, stack: Transactions, delay: int, *, answered: bool) -> None:
        self.remove, self.left, self.answered = stack.world().engine.remove_volume, delay, answered
        self.asked = self.came = False

    def __call__(self, words: str, call: Any) -> Any:
        if words.startswith("engine remove_volume") and not self.asked:
            self.asked = True
            if not self.answered:
                raise EngineError("read timed out")
            call()
        if self.asked and not self.came and self.left == 0:
            self.came = True
            with suppress(EngineError):  # in use
                self.remove(NAME)
        self.left -= self.asked
        return call()


@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize("delay", range(40))
def test_a_deletion_that_comes_late(stack: Transactions, delay: int, answered: bool) -> None:
    """It meets a volume that has been filled again: there, then in a copy, is what was in it."""
    before, late = content(stack), Late(stack, delay, answered=answered)
    with suppress(MoorageError):
        asyncio.run(restored(stack)(around_every_call(stack.world(), late)))
    assert late.asked
    if copies(stack):
        stack.recover(0)
    committed = stack.store.runs(STACK)[0].outcome == RunOutcome.COMMITTED
    assert content(stack) == ({"kept": f"what {STACK}-db-1 wrote"} if committed else before)
    assert stack.machine.volumes[NAME].labels, "made by nobody"
    assert copies(stack) == []


@pytest.mark.parametrize(
    "call", ["volumes remove_helpers", "engine observe", "store generations", "compose end_strays", "files read"]
)
@pytest.mark.parametrize("kind", [EngineError, RuntimeError])
def test_a_copy_stays_while_the_engine_answers_wrongly(stack: Transactions, call: str, kind: type[Exception]) -> None:
    """Whatever the recovery fails at, the only copy of what was in the volume outlives it."""
    before = content(stack)
    killed_when_emptied(stack)

    def wrong(words: str, do: Any) -> Any:
        if words.startswith(call):
            raise kind("made to fail")
        return do()

    with suppress(MoorageError):
        swept(stack, around_every_call(stack.world(), wrong))
    assert content(stack) == before or copies(stack)
    stack.recover(0)
    assert content(stack) == before
    assert copies(stack) == []


def test_only_its_own_copy_is_discarded(stack: Transactions) -> None:
    """Whatever a record names as the copy: a recovery removes none but the file that the run itself has written."""
    killed_when_emptied(stack)
    (record,) = stack.store.unfinished_runs(STACK)
    victim = stack.folder / "victim"
    victim.write_text("somebody's")
    arguments = {**record.arguments, "safety": str(victim), "emptied": False}
    stack.store.update_run(record.model_copy(update={"arguments": arguments}))
    stack.recover(0)
    assert victim.read_text() == "somebody's"
    assert stack.store.unfinished_runs() == ()


def test_no_volume_of_others_is_filled_again(stack: Transactions) -> None:
    """Whatever a record names as the volume: one that bears the labels of others is not replaced, and that is told."""
    killed_when_emptied(stack)
    stack.machine.add_volume("others", {labels.STACK: "others", labels.HOME: stack.world().home})
    stack.machine.volumes["others"].files["kept"] = "theirs"
    (record,) = stack.store.unfinished_runs(STACK)
    volume = {**record.arguments["volume"], "name": "others"}
    stack.store.update_run(record.model_copy(update={"arguments": {**record.arguments, "volume": volume}}))
    (found,) = [one for one in swept(stack) if one.kind == "unfinished run"]
    assert "others" in str(found.error)
    assert stack.machine.volumes["others"].files == {"kept": "theirs"}


def test_a_copy_that_nobody_can_look_for_now_is_not_lost(stack: Transactions, monkeypatch: pytest.MonkeyPatch) -> None:
    before = content(stack)
    killed_when_emptied(stack)
    (copy,), real = copies(stack), Path.exists

    def denied(path: Path) -> bool:
        if path == copy:
            raise PermissionError(13, "permission denied")
        return real(path)

    def full(words: str, call: Any) -> Any:
        if words.startswith("volumes write"):
            raise OSError(28, "no space left on device")
        return call()

    with monkeypatch.context() as patch:
        patch.setattr(Path, "exists", denied)
        swept(stack, around_every_call(stack.world(), full))
    assert copies(stack) == [copy]
    stack.recover(0)
    assert content(stack) == before
