"""The registry: one suite for the one in SQLite and the one in memory."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

from moorage.adapters.registry.store import SqliteStore
from moorage.errors import PortError
from moorage.model.generation import GenerationRecord
from moorage.model.lease import AddressLease, LeaseKey, Request, SubnetLease
from moorage.model.state import RunOutcome, RunRecord, Span, StackRecord
from moorage.testing import MemoryStore

NOW = datetime(2026, 1, 1, 12, 30, 0, 123456, tzinfo=UTC)
NONE_TAKEN = frozenset()


@pytest.fixture(params=["sqlite", "memory"])
def store(request, tmp_path):
    any_port = range(20000, 20010)
    made = (
        SqliteStore(tmp_path / "home" / "hub.db", any_port=any_port)
        if request.param == "sqlite"
        else MemoryStore(any_port)
    )
    yield made
    made.close()


def key(service="web", stack="shop", slot=0):
    return LeaseKey(stack=stack, service=service, target=80, slot=slot)


def lease(store, *requests, run=None, taken=NONE_TAKEN, busy=(), strict=False, complete=False):
    return store.lease(
        requests,
        run=run,
        taken=taken,
        bindable=lambda port, *_: port not in busy,
        strict=strict,
        complete=complete,
        now=NOW,
    )


def ports_of(leases):
    return [held.port for held in leases]


def want(port, service="web", stack="shop", **more):
    return Request(key=key(service, stack), wanted=port, **more)


class TestLeases:
    def test_stored_as_given(self, store):
        [held] = lease(store, want(8000, count=2, host_ip="0.0.0.0"), run="r1")
        assert (held.key, held.port, held.count, held.wanted) == (key(), 8000, 2, 8000)
        assert (held.host_ip, held.since, held.run) == ("0.0.0.0", NOW, "r1")
        assert store.leases("shop") == (held,)

    def test_in_the_order_of_the_requests_and_listed_by_port(self, store):
        assert ports_of(lease(store, want(9000, "a"), want(8000, "b"), want(8500, "c", "blog"))) == [9000, 8000, 8500]
        assert ports_of(store.leases()) == [8000, 8500, 9000]
        assert ports_of(store.leases("shop")) == [8000, 9000]
        assert store.leases("nobody") == ()

    def test_stacks_side_by_side(self, store):
        assert ports_of(lease(store, want(8000))) == [8000]
        assert ports_of(lease(store, want(8000, stack="blog"))) == [8001]

    def test_sticky(self, store):
        lease(store, want(8000), busy={8000})
        assert ports_of(lease(store, want(8000), busy={8001}, taken=frozenset({(8001, "tcp")}))) == [8001]

    def test_nothing_wanted_comes_from_the_setting(self, store):
        assert ports_of(lease(store, Request(key=key()))) == [20000]

    def test_no_requests(self, store):
        assert lease(store) == ()

    def test_all_or_nothing(self, store):
        with pytest.raises(PortError):
            lease(store, want(8000, "a"), want(8001, "b", fixed=True), busy={8001})
        assert store.leases() == ()

    def test_strict_names_the_other_stack(self, store):
        lease(store, want(8000, stack="blog"))
        with pytest.raises(PortError, match='service "web" of stack "blog"'):
            lease(store, want(8000), strict=True)

    def test_preview_stores_nothing(self, store):
        seen = store.preview([want(8000)], taken=NONE_TAKEN, bindable=lambda *_: True, now=NOW)
        assert ports_of(seen) == [8000]
        assert store.leases() == ()

    def test_preview_is_refused_like_a_lease(self, store):
        with pytest.raises(PortError):
            store.preview([want(8000)], taken=NONE_TAKEN, bindable=lambda *_: False, strict=True, now=NOW)

    def test_released(self, store):
        lease(store, want(8000, "a"), want(8001, "b"))
        store.release([key("a"), key("never had one")])
        assert ports_of(store.leases()) == [8001]
        assert ports_of(lease(store, want(8000, stack="blog"))) == [8000]

    def test_a_failing_look_at_a_port_leases_nothing(self, store):
        def broken(*_):
            raise RuntimeError("broken")

        with pytest.raises(RuntimeError, match="broken"):
            store.lease([want(8000)], run=None, taken=NONE_TAKEN, bindable=broken, now=NOW)
        assert store.leases() == ()
        lease(store, want(8000))


class TestRunsOfLeases:
    def test_undone_gives_back_what_it_acquired_only(self, store):
        lease(store, want(8000, "old"))
        lease(store, want(8000, "old"), want(9000, "new"), run="r1")
        assert ports_of(store.release_run("r1")) == [9000]
        assert ports_of(store.leases()) == [8000]

    def test_undone_puts_back_what_it_moved(self, store):
        [before] = lease(store, want(8000))
        lease(store, want(9000), run="r1")
        assert ports_of(store.leases()) == [9000]
        assert ports_of(store.release_run("r1")) == [9000]
        assert store.leases() == (before,)

    def test_undone_puts_back_two_that_changed_places(self, store):
        before = lease(store, want(8000, "a"), want(9000, "b"))
        lease(store, want(9005, "a"), want(8005, "b"), run="r1")
        store.release_run("r1")
        assert set(store.leases()) == set(before)

    def test_a_moved_lease_keeps_its_old_port_until_the_commit(self, store):
        lease(store, want(8000))
        lease(store, want(9000), run="r1")
        assert ports_of(lease(store, want(8000, stack="blog"))) == [8001]
        store.commit_run("r1")
        assert ports_of(lease(store, want(8000, stack="wiki"))) == [8000]

    def test_committed(self, store):
        lease(store, want(8000), run="r1")
        store.commit_run("r1")
        [held] = store.leases()
        assert held.run is None
        assert store.release_run("r1") == ()
        assert store.leases() == (held,)

    def test_another_run_is_left_alone(self, store):
        lease(store, want(8000, "a"), run="r1")
        lease(store, want(9000, "b", "blog"), run="r2")
        store.release_run("r1")
        store.commit_run("r1")
        assert [held.run for held in store.leases()] == ["r2"]

    def test_restored_after_a_loss(self, store):
        held = lease(store, want(8000, "a"), want(9000, "b"))
        store.release([key("a")])
        lease(store, want(8000, "other"))
        assert store.restore(held) == ()
        store.release([key("other"), key("b")])
        assert store.restore(held) == held
        assert store.leases() == held


def stack(name, **more):
    return StackRecord(name=name, path=f"/home/me/{name}", created_at=NOW, **more)


def generation(number, stack="shop", **more):
    return GenerationRecord(
        stack=stack, number=number, digest="d", created_at=NOW, run="r1", outcome="current", changed=("web",), **more
    )


def run(identifier, stack="shop", **more):
    return RunRecord(
        id=identifier, stack=stack, operation="up", pid=1, host="h", started_at=NOW, before={"volumes": ["v"]}, **more
    )


class TestStacks:
    def test_saved_and_replaced(self, store):
        store.save_stack(stack("shop"))
        store.save_stack(stack("shop", generation=3, expires_at=NOW, repository="r", branch="é"))
        store.save_stack(stack("blog"))
        assert store.stack("shop") == stack("shop", generation=3, expires_at=NOW, repository="r", branch="é")
        assert [record.name for record in store.stacks()] == ["blog", "shop"]

    def test_not_on_record(self, store):
        assert store.stack("shop") is None
        assert store.stacks() == ()

    def test_forgotten_with_all_but_its_leases(self, store):
        for name in ("shop", "blog"):
            store.save_stack(stack(name))
            store.save_generation(generation(1, name))
            store.add_timing(name, "web", 1, "ready", 1.5, NOW)
        lease(store, want(8000))
        store.forget_stack("shop")
        assert [record.name for record in store.stacks()] == ["blog"]
        assert (store.generations("shop"), store.timings("shop", "web", "ready")) == ((), ())
        assert len(store.generations("blog")) == len(store.timings("blog", "web", "ready")) == 1
        assert ports_of(store.leases("shop")) == [8000]


class TestGenerations:
    def test_newest_first(self, store):
        for number in (2, 10, 1):
            store.save_generation(generation(number))
        store.save_generation(generation(5, "blog"))
        assert [record.number for record in store.generations("shop")] == [10, 2, 1]

    def test_replaced_and_forgotten(self, store):
        store.save_generation(generation(1))
        store.save_generation(generation(1, time_to_ready_s=2.5, details={"a": [1]}))
        assert store.generations("shop") == (generation(1, time_to_ready_s=2.5, details={"a": [1]}),)
        store.forget_generation("shop", 1)
        store.forget_generation("shop", 1)
        assert store.generations("shop") == ()


class TestRuns:
    def test_unfinished_oldest_first(self, store):
        for record in (run("b"), run("a"), run("c", "blog")):
            store.open_run(record)
        assert store.unfinished_runs() == (run("b"), run("a"), run("c", "blog"))
        assert store.unfinished_runs("shop") == (run("b"), run("a"))

    def test_closed(self, store):
        store.open_run(run("a"))
        store.close_run("a", RunOutcome.COMMITTED, NOW + timedelta(seconds=1))
        store.close_run("never opened", RunOutcome.UNDONE, NOW)
        assert store.unfinished_runs() == ()
        assert store.runs("shop") == (run("a", outcome="committed", finished_at=NOW + timedelta(seconds=1)),)

    def test_updated_in_its_place(self, store):
        store.open_run(run("a"))
        store.open_run(run("b"))
        store.update_run(run("a", generation=2))
        assert store.runs("shop") == (run("b"), run("a", generation=2))

    def test_the_last_ones(self, store):
        for number in range(5):
            store.open_run(run(str(number)))
        store.open_run(run("other", "blog"))
        assert [record.id for record in store.runs("shop", 2)] == ["4", "3"]
        assert [record.id for record in store.runs(None, 2)] == ["other", "4"]
        assert [record.id for record in store.runs("shop", None)] == ["4", "3", "2", "1", "0"]
        assert store.runs("wiki") == ()

    def test_all_that_are_kept_however_many(self, store):
        for number in range(60):
            store.open_run(run(str(number)))
        assert (len(store.runs("shop")), len(store.runs("shop", None))) == (50, 60)

    def test_one(self, store):
        store.open_run(run("a"))
        assert store.run("a") == run("a")
        assert store.run("b") is None

    def test_heads_say_what_the_records_say(self, store):
        step = Span(step="start web", kind="start", service="web", began_s=0, ended_s=1)
        store.open_run(run("a", arguments={"services": ["web", "db"]}, outcome="undo incomplete"))
        store.open_run(run("b", "blog"))
        store.open_run(run("c", spans=(step,)))
        store.update_run(run("a", arguments={"services": ["web"]}, outcome="committed", finished_at=NOW))
        store.close_run("c", RunOutcome.UNDONE, NOW + timedelta(seconds=1))
        last, first = store.run_heads("shop")
        assert (last, first) == tuple(record.head for record in store.runs("shop"))
        assert (last.id, last.outcome, last.finished_at) == ("c", "undone", NOW + timedelta(seconds=1))
        assert (first.operation, first.services, first.outcome) == ("up", ("web",), "committed")
        assert (last.has_timeline, first.has_timeline, first.started_at) == (True, False, NOW)

    def test_heads_of_stacks_that_are_gone(self, store):
        for number, name in enumerate(("shop", "gone", "blog", "gone too")):
            store.open_run(run(str(number), name))
        store.save_stack(stack("shop"))
        store.save_stack(stack("blog"))
        assert [head.id for head in store.run_heads(None)] == ["3", "1"]
        store.forget_stack("blog")
        assert [head.id for head in store.run_heads(None)] == ["3", "2", "1"]
        assert store.run_heads("nobody") == ()

    def test_forgotten_but_for_what_has_not_ended(self, store):
        for name in "abc":
            store.open_run(run(name))
        store.close_run("a", RunOutcome.COMMITTED, NOW)
        store.close_run("c", RunOutcome.UNDONE, NOW)
        store.forget_runs(["a", "b", "never there"])
        store.forget_runs([])
        assert [record.id for record in store.runs("shop")] == ["c", "b"]
        store.open_run(run("d"))
        assert [record.id for record in store.runs("shop")] == ["d", "c", "b"]


class TestTimings:
    def test_newest_first(self, store):
        for seconds in (1.5, 2.5, 3.5):
            store.add_timing("shop", "web", 1, "ready", seconds, NOW)
        store.add_timing("shop", "web", 1, "create", 9.0, NOW)
        store.add_timing("shop", "api", 1, "ready", 9.0, NOW)
        assert store.timings("shop", "web", "ready", 2) == (3.5, 2.5)

    def test_there_is_an_end_to_what_is_kept(self, store):
        store.add_timing("shop", "api", 1, "ready", 9.0, NOW)
        for number in range(60):
            store.add_timing("shop", "web", 1, "ready", float(number), NOW)
        assert store.timings("shop", "web", "ready", 100) == tuple(float(number) for number in range(59, 9, -1))
        store.add_timing("shop", "web", 1, "ready", 60.0, NOW, keep=3)
        assert store.timings("shop", "web", "ready", 100) == (60.0, 59.0, 58.0)
        assert store.timings("shop", "api", "ready") == (9.0,)

    def test_those_from_long_before_the_last_start_are_forgotten(self, store):
        day = timedelta(days=1)
        for number, service in enumerate(("renamed", "web", "web", "web")):
            store.add_timing("shop", service, 1, "ready", float(number), NOW + number * day)
        store.add_timing("blog", "web", 1, "ready", 9.0, NOW - 100 * day)
        assert (store.old_timings("shop", 3 * day), store.old_timings("shop", 2 * day)) == (0, 1)
        assert (store.old_timings("blog", day), store.old_timings("nobody", day)) == (0, 0)
        store.forget_timings("shop", day)
        assert store.old_timings("shop", day) == 0
        assert store.timings("shop", "renamed", "ready") == ()
        assert store.timings("shop", "web", "ready") == (3.0, 2.0)
        assert store.timings("blog", "web", "ready") == (9.0,)


class TestAddresses:
    def of(self, stack, *services):
        known = {"network": f"{stack}_default", "subnet": "10.0.0.0/26", "since": NOW}
        return tuple(
            AddressLease(stack=stack, service=name, address=f"10.0.0.{60 - n}", **known)
            for n, name in enumerate(services)
        )

    def test_all_of_a_stack_in_place_of_what_it_had(self, store):
        store.save_addresses("shop", self.of("shop", "db", "web"))
        store.save_addresses("blog", self.of("blog", "web"))
        assert store.addresses("shop") == self.of("shop", "db", "web")
        store.save_addresses("shop", self.of("shop", "api"))
        assert store.addresses() == (*self.of("blog", "web"), *self.of("shop", "api"))
        store.forget_stack("shop")
        assert store.addresses("shop") == self.of("shop", "api"), "they are held until they are released"
        store.release_all("shop")
        assert store.addresses() == self.of("blog", "web")


class TestBuiltImages:
    def test_what_was_built_until_it_is_forgotten(self, store):
        store.note_built("sha256:1", "shop", NOW)
        store.note_built("sha256:2", "blog", NOW)
        store.note_built("sha256:1", "shop", NOW + timedelta(days=1))
        known = {one.image_id: (one.stack, one.at) for one in store.built_images()}
        assert known == {"sha256:1": ("shop", NOW + timedelta(days=1)), "sha256:2": ("blog", NOW)}
        store.forget_built(["sha256:1", "never there"])
        store.forget_built([])
        assert [one.image_id for one in store.built_images()] == ["sha256:2"]
        store.forget_stack("blog")
        assert [one.image_id for one in store.built_images()] == ["sha256:2"], "the image is still on the engine"


class TestPeaks:
    def test_the_most_that_was_seen_while_it_is_valid(self, store):
        day = timedelta(days=1)
        for passed, found in ((0, 100), (1, 300), (2, 200)):
            store.note_peaks("shop", {"web": found, "db": 7}, NOW + passed * day, valid=30 * day)
        store.note_peaks("blog", {"web": 9}, NOW, valid=day)
        assert store.peaks("shop") == {"web": 300, "db": 7}
        store.note_peaks("shop", {"web": 200}, NOW + 32 * day, valid=30 * day)
        assert store.peaks("shop") == {"web": 200, "db": 7}
        store.forget_stack("shop")
        assert (store.peaks("shop"), store.peaks("blog")) == ({}, {"web": 9})


def test_nothing_is_lost_at_first(store):
    assert store.set_aside is None
    store.rebuilt()


def test_closed_and_used_again(store):
    lease(store, want(8000))
    store.close()
    store.close()
    assert ports_of(store.leases()) == [8000]


def test_threads(store):
    def work(name):
        for number in range(10):
            lease(store, want(8000, f"s{number}", name))

    workers = [threading.Thread(target=work, args=(f"stack{number}",)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(set(ports_of(store.leases()))) == 40


class TestInheritance:
    """A mapping that takes the place of another: the service was renamed, or its container port has changed."""

    def test_the_port_of_a_forerunner(self, store):
        lease(store, want(8000, "front"), want(8000, "other"))
        assert ports_of(
            lease(store, want(8000, "web"), want(8000, "other"), run="r1", busy={8000, 8001}, complete=True)
        ) == [8000, 8001]
        store.commit_run("r1")
        assert {held.key.service: held.port for held in store.leases()} == {"web": 8000, "other": 8001}

    def test_undone(self, store):
        before = lease(store, want(8000, "front"))
        lease(store, want(8000, "web"), run="r1", complete=True)
        store.release_run("r1")
        assert store.leases() == before

    def test_that_of_the_same_service_first(self, store):
        lease(store, want(8000, "a"), want(8000, "b"))
        new = Request(key=LeaseKey(stack="shop", service="b", target=81), wanted=8000)
        assert ports_of(lease(store, new, run="r1", complete=True)) == [8001]

    def test_not_what_wanted_something_else(self, store):
        lease(store, want(8000, "front"))
        assert ports_of(lease(store, want(9000, "web"), run="r1", complete=True)) == [9000]
        assert len(store.leases()) == 2

    def test_not_of_another_stack_and_not_unasked(self, store):
        lease(store, want(8000, "front"))
        assert ports_of(lease(store, want(8000, "web", "blog"), run="r1", complete=True)) == [8001]
        assert ports_of(lease(store, want(8000, "web"))) == [8002]

    def test_looking_ahead_leaves_it(self, store):
        before = lease(store, want(8000, "front"))
        seen = store.preview((want(8000, "web"),), taken=NONE_TAKEN, bindable=lambda *_: True, complete=True, now=NOW)
        assert ports_of(seen) == [8000]
        assert store.leases() == before


def test_a_directory_that_is_missing_is_remembered_from_the_first_look(store):
    later = NOW + timedelta(minutes=10)
    assert store.missing_since("shop", "/shop") is None
    assert store.note_missing("shop", "/shop", NOW) == NOW
    assert store.note_missing("shop", "/shop", later) == NOW
    assert store.missing_since("shop", "/shop") == NOW
    assert store.missing_since("shop", "/elsewhere") is None, "it has moved: that is another directory"
    assert store.note_missing("shop", "/elsewhere", later) == later
    assert store.note_missing("shop", "/elsewhere", NOW) == NOW, "a clock that was set back"
    store.forget_missing("shop")
    store.forget_missing("shop")
    assert store.missing_since("shop", "/elsewhere") is None
    store.note_missing("shop", "/shop", NOW)
    store.forget_stack("shop")
    assert store.missing_since("shop", "/shop") is None


def test_a_directory_that_a_stack_was_started_from_is_not_missing_any_more(store):
    """Else one that is moved for a moment months later would have been missing all the time."""
    store.note_missing("shop", "/shop", NOW)
    store.note_missing("blog", "/blog", NOW)
    run = RunRecord(id="r1", stack="shop", operation="up", pid=1, host="h", started_at=NOW)
    store.commit(run, StackRecord(name="shop", path="/shop", created_at=NOW), [], [])
    assert store.missing_since("shop", "/shop") is None
    assert store.missing_since("blog", "/blog") == NOW


def test_all_leases_of_a_stack_are_released(store):
    lease(store, want(8000, "a"), want(8001, "b"))
    lease(store, want(8002, stack="blog"))
    store.release_all("shop")
    store.release_all("never there")
    assert ports_of(store.leases()) == [8002]


class TestLeasesOfAStoredGeneration:
    """A run that goes back to other ports has its former ones until it has ended."""

    def again(self, store, port, service="web", run="r1"):
        (held,) = lease(MemoryStore(range(20000, 20010)), want(port, service), run=run)
        return store.lease_again([held])

    def test_in_place_of_what_the_key_has(self, store):
        lease(store, want(8000))
        assert ports_of(self.again(store, 8001)) == [8001]
        assert ports_of(store.leases("shop")) == [8001]

    def test_what_it_gives_up_nobody_else_gets(self, store):
        lease(store, want(8000))
        self.again(store, 8001)
        assert ports_of(lease(store, want(8000, stack="blog"), want(8001, "db", stack="blog"))) == [8002, 8003]

    def test_undone(self, store):
        before = lease(store, want(8000))
        self.again(store, 8001)
        self.again(store, 8002)
        assert ports_of(store.release_run("r1")) == [8002]
        assert store.leases("shop") == before
        assert ports_of(lease(store, want(8002, stack="blog"))) == [8002]

    def test_committed(self, store):
        lease(store, want(8000))
        self.again(store, 8001)
        store.commit_run("r1")
        assert ports_of(lease(store, want(8000, stack="blog"))) == [8000]
        assert [(one.port, one.run) for one in store.leases("shop")] == [(8001, None)]

    def test_two_that_change_places(self, store):
        lease(store, want(8000), want(8001, "db"))
        (web,) = lease(MemoryStore(), want(8001), run="r1")
        (db,) = lease(MemoryStore(), want(8000, "db"), run="r1")
        assert set(ports_of(store.lease_again([web, db]))) == {8000, 8001}
        store.release_run("r1")
        assert [(one.key.service, one.port) for one in store.leases("shop")] == [("web", 8000), ("db", 8001)]

    def test_not_what_another_key_has(self, store):
        before = lease(store, want(8000))
        lease(store, want(8001, stack="blog"))
        assert self.again(store, 8001) == ()
        assert store.leases("shop") == before

    def test_a_key_without_a_lease(self, store):
        assert ports_of(self.again(store, 8001)) == [8001]
        store.release_run("r1")
        assert store.leases() == ()


class TestSubnets:
    """A stack's are replaced as a whole."""

    @staticmethod
    def of(stack, *numbers):
        return [
            SubnetLease(stack=stack, network=f"{stack}_{number}", subnet=f"10.0.{number}.0/26", since=NOW)
            for number in numbers
        ]

    def settle(self, store, stack, *numbers):
        return list(store.settle_subnets(stack, lambda _: self.of(stack, *numbers)))

    def test_stored_as_given(self, store):
        assert self.settle(store, "shop", 2, 1) == self.of("shop", 1, 2)
        assert list(store.subnets("shop")) == self.of("shop", 1, 2)
        assert store.subnets("blog") == ()

    def test_the_choice_sees_all(self, store):
        self.settle(store, "shop", 1)
        self.settle(store, "blog", 2)
        seen = []
        store.settle_subnets("blog", lambda known: seen.extend(known) or ())
        assert set(seen) == {*self.of("shop", 1), *self.of("blog", 2)}
        assert list(store.subnets()) == self.of("shop", 1)

    def test_who_has_it_on_the_engine_has_it(self, store):
        self.settle(store, "shop", 1, 2)
        self.settle(store, "blog", 2)
        assert list(store.subnets()) == [*self.of("blog", 2), *self.of("shop", 1)]

    def test_released_with_the_ports(self, store):
        self.settle(store, "shop", 1)
        self.settle(store, "blog", 2)
        store.release_all("shop")
        assert list(store.subnets()) == self.of("blog", 2)

    def test_many_at_once_get_each_their_own(self, store):
        def choose(stack, known):
            used = {one.subnet for one in known}
            return next([one] for number in range(50) for one in self.of(stack, number) if one.subnet not in used)

        names = [f"s{number}" for number in range(16)]
        threads = [
            threading.Thread(target=lambda name=name: store.settle_subnets(name, lambda known: choose(name, known)))
            for name in names
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(one.stack for one in store.subnets()) == sorted(names)
        assert len({one.subnet for one in store.subnets()}) == len(names)
