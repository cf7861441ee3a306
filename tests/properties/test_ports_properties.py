"""What holds for every choice of ports."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import assume, given
from hypothesis import strategies as st

from moorage.errors import PortError
from moorage.model.lease import LeaseKey, Request
from moorage.rules import ports
from moorage.testing import MemoryStore

NOW = datetime(2026, 1, 1, tzinfo=UTC)
# A small world, so that requests collide.
near = st.integers(8000, 8012)
keys = st.builds(
    LeaseKey,
    stack=st.sampled_from(["shop", "blog"]),
    service=st.sampled_from(["web", "api", "db"]),
    target=st.sampled_from([80, 443]),
    protocol=st.sampled_from(["tcp", "udp"]),
    slot=st.integers(0, 1),
)
requests = st.builds(
    Request,
    key=keys,
    wanted=st.none() | near,
    wanted_last=st.none() | near,
    count=st.integers(1, 3),
    host_ip=st.sampled_from([None, "0.0.0.0", "::1", "127.0.0.1"]),
)
calls = st.lists(st.lists(requests, max_size=4, unique_by=lambda request: request.key), max_size=6)
busy_ports = st.frozensets(st.tuples(near, st.sampled_from(["tcp", "udp"])), max_size=8)


def store_after(history, busy=frozenset(), run=None):
    store = MemoryStore(any_port=range(8000, 8100))
    for call in history:
        lease(store, call, busy, run)
    return store


def lease(store, call, busy=frozenset(), run=None, taken=frozenset()):
    return store.lease(
        call, run=run, taken=taken, bindable=lambda port, protocol, _: (port, protocol) not in busy, now=NOW
    )


@given(calls, busy_ports)
def test_no_port_is_leased_twice(history, busy):
    holders = {}
    for held in store_after(history, busy).leases():
        for port in held.ports:
            holders.setdefault((port, held.key.protocol), []).append(held)
    for sharing in holders.values():
        # Only one container port may share a host port with itself, at different addresses.
        assert len({(one.key.stack, one.key.service, one.key.target) for one in sharing}) == 1
        assert len({one.host_ip for one in sharing}) == len(sharing)


@given(calls, busy_ports)
def test_no_busy_port_is_leased(history, busy):
    for held in store_after(history, busy).leases():
        assert not {(port, held.key.protocol) for port in held.ports} & busy


@given(calls, st.lists(requests, min_size=1, max_size=4, unique_by=lambda request: request.key), busy_ports)
def test_asking_again_gives_the_same_whatever_became_busy(history, call, busy):
    store = store_after(history)
    first = lease(store, call)
    assert lease(store, call, busy, taken=busy) == first


@given(calls, st.lists(requests, max_size=4, unique_by=lambda request: request.key))
def test_preview_is_what_lease_answers(history, call):
    store = store_after(history)
    before = store.leases()
    seen = store.preview(call, taken=frozenset(), bindable=lambda *_: True, now=NOW)
    assert store.leases() == before
    assert lease(store, call) == seen


@given(calls, calls)
def test_an_undone_run_leaves_no_trace(history, undone):
    store = store_after(history)
    before = store.leases()
    for call in undone:
        lease(store, call, run="r1")
    store.release_run("r1")
    assert store.leases() == before


@given(calls, calls)
def test_a_committed_run_stays(history, committed):
    store = store_after(history)
    for call in committed:
        lease(store, call, run="r1")
    held = {each.key: each.port for each in store.leases()}
    store.commit_run("r1")
    assert {each.key: each.port for each in store.leases()} == held
    assert store.release_run("r1") == ()


@given(calls)
def test_a_lost_registry_comes_back_whole(history):
    held = store_after(history).leases()
    assert MemoryStore().restore(held) == held


@given(requests.filter(lambda request: request.wanted is not None), busy_ports)
def test_strict_gives_what_was_asked_for_or_nothing(request, busy):
    market = ports.PortView(bindable=lambda port, protocol, _ip: (port, protocol) not in busy, strict=True)
    try:
        chosen = ports.choose(request, None, market)
    except PortError as error:
        held = error.fields["port"]
        assume((held, request.key.protocol) not in busy)
        raise AssertionError(f"{held} is free") from error
    assert request.wanted <= chosen[0] <= max(request.wanted, request.wanted_last or 0)
    assert len(set(chosen)) == request.count


@given(st.integers(1, 65535), st.integers(1, 5))
def test_moved_ports_are_ones_that_browsers_open(wanted, count):
    request = Request(key=LeaseKey(stack="s", service="w", target=80), wanted=wanted, count=count)
    assume(wanted + count <= 65535)
    market = ports.PortView(bindable=lambda port, _protocol, _ip: port != wanted)
    chosen = ports.choose(request, None, market)
    assert len(set(chosen)) == count
    assert not set(chosen) & (ports.BAD_PORTS | {wanted})
