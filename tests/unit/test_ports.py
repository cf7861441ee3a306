"""Which port a service gets, case by case."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from moorage.errors import PortError
from moorage.model.lease import Lease, LeaseKey, Request
from moorage.rules import ports
from moorage.rules.ports import KnownLeases, LeaseChange, PortView

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = datetime(2026, 1, 2, tzinfo=UTC)


def key(service="web", stack="shop", target=80, slot=0, protocol="tcp"):
    return LeaseKey(stack=stack, service=service, target=target, slot=slot, protocol=protocol)


def request(wanted=None, *, of=None, **more):
    return Request(key=of or key(), wanted=wanted, **more)


def lease(port, *, of=None, wanted=None, count=1, run=None, host_ip="127.0.0.1"):
    return Lease(key=of or key(), port=port, wanted=wanted, count=count, run=run, since=NOW, host_ip=host_ip)


def market(*leases, busy=(), taken=(), strict=False, any_port=range(20000, 20010), process="nginx (pid 7)"):
    leased = KnownLeases()
    for each in leases:
        leased.add(each)
    return PortView(
        bindable=lambda port, _protocol, _ip: port not in busy,
        leased=leased,
        taken=frozenset((port, "tcp") for port in taken),
        any_port=any_port,
        strict=strict,
        process_at=lambda port, _protocol: process if port in busy else None,
    )


def choose(wanted, own=None, **state):
    others = state.pop("others", ())
    """The first of the ports."""
    return chosen(wanted, own, **state, others=others)[0]


def chosen(wanted, own=None, *, others=(), **state):
    """All the ports."""
    return list(ports.choose(wanted, own, market(*others, *([own] if own else []), **state)))


def test_the_wanted_port():
    assert choose(request(8000)) == 8000


@pytest.mark.parametrize(
    "state",
    [
        {"busy": {8000}},
        {"taken": {8000}},
        {"others": [lease(8000, of=key(stack="blog"))]},
        {"others": [lease(8000, of=key("api"))]},
        {"others": [lease(7999, of=key("api"), count=2)]},
    ],
    ids=["a process listens", "the engine publishes it", "another stack", "another service", "a neighbour's replicas"],
)
def test_the_next_one_upward(state):
    assert choose(request(8000), **state) == 8001


def test_another_protocol_is_another_port():
    assert choose(request(8000), others=[lease(8000, of=key("dns", protocol="udp"))]) == 8000


@pytest.mark.parametrize("state", [{"busy": {8005}}, {"taken": {8005}}, {"busy": set()}], ids=["busy", "taken", "idle"])
def test_its_lease_is_kept(state):
    assert choose(request(8000), lease(8005, wanted=8000), **state) == 8005


def test_its_lease_is_kept_when_the_wanted_port_is_free_again():
    assert choose(request(8000), lease(8001, wanted=8000)) == 8001


def test_another_wish_moves_it():
    assert choose(request(9000), lease(8001, wanted=8000)) == 9000


def test_another_wish_that_the_lease_fulfils_keeps_it():
    assert choose(request(8001), lease(8001, wanted=8000), busy={8001}) == 8001
    assert choose(request(None), lease(8001, wanted=8000), busy={8001}) == 8001
    assert choose(request(8000, wanted_last=8010), lease(8004, wanted=7000), busy={8004}) == 8004


def test_fewer_replicas_keep_the_port():
    assert choose(request(8000, count=1), lease(8000, wanted=8000, count=3)) == 8000


def test_more_replicas_grow_in_place_beside_our_own_containers():
    assert choose(request(8000, count=3), lease(8010, wanted=8000, count=2), busy={8010, 8011}) == 8010


def test_more_replicas_move_when_there_is_no_room():
    assert choose(request(8000, count=3), lease(8010, wanted=8000, count=2), busy={8000, 8012}) == 8001


def test_consecutive_ports_for_replicas():
    assert choose(request(8000, count=3), busy={8002, 8004}) == 8005


def test_the_range_first_then_upward():
    wanted = request(8000, wanted_last=8003)
    assert choose(wanted, busy={8000, 8001}) == 8002
    assert choose(wanted, busy={8000, 8001, 8002, 8003}) == 8004


def test_replicas_stay_inside_the_range_while_they_fit():
    assert choose(request(8000, wanted_last=8004, count=2), busy={8000, 8002}) == 8003


def test_bad_ports_are_passed_over_but_given_when_asked_for():
    assert choose(request(5999), busy={5999}) == 6001
    assert choose(request(6664, count=2), busy={6664}) == 6670
    assert choose(request(6000)) == 6000
    assert choose(request(6665, wanted_last=6669), busy={6665}) == 6666


def test_after_the_highest_from_1024_upward():
    assert choose(request(65535), busy={65535}) == 1024
    assert choose(request(65535, count=2)) == 1024


def test_none_in_particular():
    assert choose(request(), busy={20000}, others=[lease(20001, of=key("api"))]) == 20002


def test_nothing_free_in_the_range_of_the_setting():
    with pytest.raises(PortError, match=r"services\.web\.ports: no port is free in 20000-20009") as caught:
        choose(request(), busy=set(range(20000, 20010)))
    assert caught.value.exit_code == 3
    assert "MOORAGE_PORT_RANGE" in caught.value.hint


def test_nothing_free_at_all():
    with pytest.raises(PortError, match="no 2 consecutive ports are free from 8000 upward"):
        choose(request(8000, count=2), busy=set(range(0, 65536, 2)))


@pytest.mark.parametrize(
    ("state", "holder"),
    [
        ({"busy": {8000}}, "nginx (pid 7)"),
        ({"busy": {8000}, "process": None}, "another process"),
        ({"taken": {8000}}, "a container on this engine"),
        ({"others": [lease(8000, of=key("api", "blog"))]}, 'service "api" of stack "blog"'),
    ],
    ids=["process", "unknown process", "engine", "lease"],
)
@pytest.mark.parametrize("how", [{"fixed": True}, {"strict": True}], ids=["fixed", "strict"])
def test_strict_names_the_holder(state, holder, how):
    wanted = request(8000, fixed=how.get("fixed", False))
    with pytest.raises(PortError, match=r"services\.web\.ports: port 8000/tcp is held by") as caught:
        choose(wanted, **state, strict=how.get("strict", False))
    assert holder in str(caught.value)
    assert caught.value.fields == {"port": 8000, "service": "web", "target": 80, "holder": holder}


def test_strict_leaves_a_lease_that_is_not_the_wanted_port():
    own = lease(8001, wanted=8000)
    assert choose(request(8000), own, strict=True) == 8000
    with pytest.raises(PortError):
        choose(request(8000), own, strict=True, busy={8000})


def test_strict_keeps_the_wanted_port_that_it_has():
    assert choose(request(8000), lease(8000, wanted=8000), strict=True, busy={8000}) == 8000


def test_strict_may_take_any_port_of_a_wanted_range():
    assert choose(request(8000, wanted_last=8001), strict=True, busy={8000}) == 8001
    with pytest.raises(PortError):
        choose(request(8000, wanted_last=8001), strict=True, busy={8000, 8001})


def test_one_container_port_at_two_addresses():
    there = lease(8000, wanted=8000, host_ip="127.0.0.1")
    assert choose(request(8000, of=key(slot=1), host_ip="::1"), others=[there], busy={8000}) == 8000
    assert choose(request(8000, of=key(slot=1), host_ip="0.0.0.0"), others=[there]) == 8001
    assert choose(request(8000, of=key(slot=1)), others=[there]) == 8001


def allocate(requests, held=(), run="r2", **state):
    holdings = {each.key: LeaseChange(each) for each in held}
    return ports.allocate(requests, holdings, market(*held, **state), run, LATER)


def test_nobody_moves_onto_a_port_that_another_wants():
    requests = [request(8000, of=key("backend")), request(8001, of=key("frontend"))]
    assert [holding.lease.port for holding in allocate(requests, busy={8000})] == [8002, 8001]


def test_what_cannot_move_chooses_first():
    requests = [request(8000, of=key("web")), request(8000, of=key("host"), fixed=True)]
    assert [holding.lease.port for holding in allocate(requests)] == [8001, 8000]


def test_two_who_want_the_same_port():
    requests = [request(8000, of=key(name)) for name in ("a", "b", "c")]
    assert [holding.lease.port for holding in allocate(requests)] == [8000, 8001, 8002]


def test_a_new_lease_belongs_to_its_run():
    [holding] = allocate([request(8000)])
    assert (holding.lease.run, holding.lease.since, holding.restored) == ("r2", LATER, None)
    assert holding.given_back


def test_a_kept_lease_is_untouched():
    own = lease(8001, wanted=8000)
    assert allocate([request(8000)], held=[own]) == (LeaseChange(own),)


def test_a_moved_lease_remembers_where_it_was():
    own = lease(8001, wanted=8000)
    [holding] = allocate([request(9000)], held=[own])
    assert (holding.lease.port, holding.previous, holding.given_back) == (9000, own, True)
    assert holding.restored == LeaseChange(own)


def test_fewer_replicas_give_nothing_back_when_undone():
    [holding] = allocate([request(8000, count=1)], held=[lease(8000, wanted=8000, count=3)])
    assert (holding.lease.count, holding.given_back, holding.lease.since) == (1, False, NOW)


def test_what_an_unfinished_run_left_is_taken_over():
    [holding] = allocate([request(8000)], held=[lease(8000, wanted=8000, run="r1")])
    assert (holding.lease.run, holding.previous) == ("r2", None)


def test_compatible_leaves_out_what_is_held():
    held = [LeaseChange(lease(8000), lease(7000))]
    free = lease(8002, of=key("c"))
    asked = [lease(9000), lease(8000, of=key("a")), lease(7000, of=key("b")), free, lease(8001, of=key("d"), count=2)]
    assert ports.compatible(asked, held) == (free,)


@pytest.mark.parametrize(("text", "first", "last"), [("20000-29999", 20000, 29999), ("1-65535", 1, 65535)])
def test_port_range(text, first, last):
    assert ports.port_range(text) == range(first, last + 1)


RANGE = {"wanted_last": 8004, "count": 3}
SCATTERED = {
    "a block first": ({}, {8000}, None, [8001, 8002, 8003]),
    "a hole": ({}, {8001}, None, [8002, 8003, 8004]),
    "no block": ({}, {8001, 8003}, None, [8000, 8002, 8004]),
    "no block of two": ({"count": 2, "wanted_last": 8003}, {8001, 8003}, None, [8000, 8002]),
    "too few in it": ({}, {8000, 8002, 8004}, None, [8005, 8006, 8007]),
    "a range that is too small": ({"wanted_last": 8001}, set(), None, [8000, 8001, 8002]),
    "no range": ({"wanted_last": None}, {8001}, None, [8002, 8003, 8004]),
    "its own stay": ({}, {8001, 8003}, (8000, 8002, 8004), [8000, 8002, 8004]),
    "its own stay though a block is free now": ({}, set(), (8000, 8002, 8004), [8000, 8002, 8004]),
    "one more replica": ({"count": 4, "wanted_last": 8005}, {8001}, (8000, 8002, 8003), [8002, 8003, 8004, 8005]),
    "one more where no block is": (
        {"count": 4, "wanted_last": 8005},
        {8001, 8005},
        (8000, 8002, 8003),
        [8000, 8002, 8003, 8004],
    ),
    "one less": ({"count": 2}, set(), (8000, 8002, 8004), [8000, 8002]),
    "another range": ({"wanted_last": 8003}, {8001}, (8010, 8011, 8012), [8000, 8002, 8003]),
    "one replica": ({"count": 1}, {8000}, None, [8001]),
}


@pytest.mark.parametrize(("how", "busy", "has", "right"), SCATTERED.values(), ids=SCATTERED)
@pytest.mark.parametrize("strict", [False, True])
def test_replicas_take_any_free_ports_of_a_range(how, busy, has, right, strict):
    wanted, own = request(8000, **{**RANGE, **how}), None
    if has:
        gaps = tuple(port for port in range(has[0], has[-1]) if port not in has)
        first = 7000 if has[0] == 8010 else 8000
        own = lease(has[0], wanted=first, count=len(has)).model_copy(update={"skipped": gaps})
    if strict and right[0] > (wanted.wanted_last or 8000):
        with pytest.raises(PortError):
            chosen(wanted, own, busy=busy, strict=True)
        return
    assert chosen(wanted, own, busy=busy, strict=strict) == right
    [change] = allocate([wanted], held=[own] if own else [], busy=busy, strict=strict)
    assert list(change.lease.ports) == right


def test_another_stack_may_have_the_port_in_the_hole():
    [first] = allocate([request(8000, **RANGE)], busy={8001, 8003})
    assert (first.lease.said, first.lease.skipped) == ("8000-8004 but 8001, 8003", (8001, 8003))
    other = request(8001, of=key(stack="blog"))
    assert chosen(other, others=[first.lease]) == [8001]
    assert chosen(request(8002, of=key(stack="blog")), others=[first.lease]) == [8003]
