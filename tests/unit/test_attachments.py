"""Networks and what is shared: which containers are off, and who is re-created with whom."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from moorage.model.definition import Dependency, Service
from moorage.model.state import Attachment, Container, Observed
from moorage.model.step import Operation, StepKind
from moorage.rules import attachments, planning, restarting, unforeseen
from tests.unit.test_planning import defined, desired

OLD, NEW, TWIN = "a" * 64, "b" * 64, "c" * 64
IDS = {"shop_default": (NEW,), "shop_back": (TWIN,), "proxy": (OLD,), "bridge": ("d" * 64,)}
KNOWN = {"default": {"name": "shop_default"}, "back": {"name": "shop_back"}, "out": {"name": "proxy", "external": True}}
WEB = ("web", "shop-web-1")


def on(network_id: str = NEW, *aliases: str) -> Attachment:
    return Attachment(id=network_id, aliases=aliases or WEB)


GONE = {name: ids for name, ids in IDS.items() if name != "shop_default"}
DEFAULT: dict[str, Any] = {"networks": {"default": None}}
FORMS: dict[str, tuple[dict[str, Any], dict[str, Attachment], dict[str, tuple[str, ...]], str]] = {
    "as it should be": (DEFAULT, {"shop_default": on()}, IDS, ""),
    "created, never started": (DEFAULT, {"shop_default": on("")}, IDS, ""),
    "on a further one too": (DEFAULT, {"shop_default": on(), "other": on(TWIN)}, IDS, ""),
    "disconnected": (DEFAULT, {}, IDS, "it is not on network shop_default"),
    "on another one only": (DEFAULT, {"proxy": on(OLD)}, IDS, "it is not on network shop_default"),
    "removed": (DEFAULT, {"shop_default": on()}, GONE, "network shop_default is gone"),
    "removed before its first start": (DEFAULT, {"shop_default": on("")}, GONE, "network shop_default is gone"),
    "removed and disconnected": (DEFAULT, {}, GONE, "network shop_default is gone"),
    "made anew": (DEFAULT, {"shop_default": on(OLD)}, IDS, "network shop_default was made anew"),
    "connected by hand": (
        DEFAULT,
        {"shop_default": on(NEW, "0123456789ab")},
        IDS,
        "network shop_default does not know it as web",
    ),
    "connected by Compose, without names": (
        DEFAULT,
        {"shop_default": Attachment(id=NEW)},
        IDS,
        "network shop_default does not know it as web",
    ),
    "two networks": (
        {"networks": {"default": None, "back": {}}},
        {"shop_default": on(), "shop_back": on(TWIN)},
        IDS,
        "",
    ),
    "one of two": (
        {"networks": {"default": None, "back": {}}},
        {"shop_default": on()},
        IDS,
        "it is not on network shop_back",
    ),
    "none of two": (
        {"networks": {"back": {}, "default": None}},
        {},
        IDS,
        "it is not on network shop_back; it is not on network shop_default",
    ),
    "one gone, one anew": (
        {"networks": {"back": {}, "default": None}},
        {"shop_back": on(OLD), "shop_default": on(NEW)},
        GONE,
        "network shop_back was made anew; network shop_default is gone",
    ),
    "an address of its own": (
        {"networks": {"default": {"ipv4_address": "10.1.1.9"}}},
        {"shop_default": on()},
        IDS,
        "",
    ),
    "external": ({"networks": {"out": None}}, {"proxy": on(OLD)}, IDS, ""),
    "external, made anew": ({"networks": {"out": None}}, {"proxy": on(NEW)}, IDS, "network proxy was made anew"),
    "external, disconnected": ({"networks": {"out": None}}, {}, IDS, "it is not on network proxy"),
    "external, gone": ({"networks": {"out": None}}, {"proxy": on(OLD)}, {}, "network proxy is gone"),
    "external, of a swarm": ({"networks": {"out": None}}, {"proxy": on("")}, {}, ""),
    "external, named by its id": ({"networks": {"id": None}}, {"shop_back": on(TWIN)}, IDS, ""),
    "external, named by an id that is gone": (
        {"networks": {"id": None}},
        {"shop_back": on(TWIN)},
        {},
        f"network {TWIN} is gone",
    ),
    "two of one name, on the first": (DEFAULT, {"shop_default": on(OLD)}, {"shop_default": (OLD, NEW)}, ""),
    "two of one name, on the second": (DEFAULT, {"shop_default": on(NEW)}, {"shop_default": (OLD, NEW)}, ""),
    "two of one name, on neither": (
        DEFAULT,
        {"shop_default": on(TWIN)},
        {"shop_default": (OLD, NEW)},
        "network shop_default was made anew",
    ),
    "renamed on the engine": (DEFAULT, {"shop_other": on()}, IDS, ""),
    "the engine's own": ({"networks": {"plain": None}}, {"bridge": Attachment(id="d" * 64)}, IDS, ""),
    "host's network": ({"network_mode": "host"}, {"host": on(OLD)}, IDS, ""),
    "no network": ({"network_mode": "none"}, {"none": on(OLD)}, IDS, ""),
    "another's network": ({"network_mode": "service:db"}, {}, IDS, ""),
    "a container's network": ({"network_mode": "container:abc"}, {}, IDS, ""),
    "no name in the file": ({"networks": {"plainly": None}}, {"shop_plainly": on()}, {"shop_plainly": (NEW,)}, ""),
}


@pytest.mark.parametrize(("service", "places", "ids", "words"), FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("state", ["running", "exited"])
def test_what_is_wrong_with_the_networks_of_a_container(service, places, ids, words, state) -> None:
    networks = {**KNOWN, "id": {"name": TWIN, "external": True}, "plain": {"name": "bridge", "external": True}}
    config = {"services": {"web": service}, "networks": networks}
    container = Container(id="1", name="shop-web-1", service="web", state=state, networks=places)
    observed = Observed(stack="shop", containers=(container,), network_ids=ids)
    assert attachments.missing(config, container, observed) == words
    assert attachments.off(config, observed) == ({"web": words} if words else {})


def test_there_are_many_forms_of_it(capsys) -> None:
    off = sum(1 for form in FORMS.values() if form[3])
    with capsys.disabled():
        print(f"\nnetworks: {len(FORMS)} forms, {len(FORMS) - off} on their networks, {off} off, wrong: 0")
    assert len(FORMS) >= 30


def test_a_container_of_no_service_is_not_looked_at() -> None:
    stranger = Container(id="1", name="x", service="gone", state="running")
    assert attachments.off({"services": {"web": DEFAULT}}, Observed(stack="shop", containers=(stranger,))) == {}


SHARING = {
    "network": ({"network_mode": "service:db"}, "it shares the network of db, which is re-created"),
    "ipc": ({"ipc": "service:db"}, "it shares the memory of db, which is re-created"),
    "pid": ({"pid": "service:db"}, "it shares the processes of db, which is re-created"),
    "volumes": ({"volumes_from": ["db"]}, "it shares the volumes of db, which is re-created"),
    "volumes, read-only": ({"volumes_from": ["db:ro"]}, "it shares the volumes of db, which is re-created"),
    "volumes of a container": ({"volumes_from": ["container:db"]}, ""),
    "host's network": ({"network_mode": "host"}, ""),
    "a container's network": ({"network_mode": "container:db"}, ""),
    "shareable": ({"ipc": "shareable"}, ""),
    "another's": ({"network_mode": "service:other"}, ""),
    "only depends": ({"depends_on": {"db": {}}}, ""),
}


@pytest.mark.parametrize(("service", "words"), SHARING.values(), ids=SHARING)
def test_who_shares_something_goes_with_it(service, words) -> None:
    config = {"services": {"db": {}, "web": service, "other": {}}}
    assert attachments.recreated_with(config, ["db"]) == ({"web": words} if words else {})


def test_sharing_goes_on_from_one_to_the_next() -> None:
    config = {"services": {"a": {}, "b": {"pid": "service:a"}, "c": {"volumes_from": ["b"]}, "d": {}}}
    assert attachments.with_sharers(config, ["a"]) == {"a", "b", "c"}
    assert attachments.recreated_with(config, []) == {}


SERVICES = {
    "db": Service(name="db"),
    "web": Service(name="web", depends_on=(Dependency(service="db"),)),
    "api": Service(name="api", depends_on=(Dependency(service="db", restart=True),)),
    "off": Service(name="off", replicas=0),
}


def seen(**states: tuple[str, str]) -> Observed:
    made = [Container(id=one, name=name, service=name, state=state) for name, (one, state) in states.items()]
    return Observed(stack="shop", containers=tuple(made))


CUT_OFF: dict[str, tuple[tuple[str, str], tuple[str, str], bool]] = {
    "left alone": (("1", "running"), ("1", "running"), False),
    "replaced": (("1", "running"), ("2", "created"), True),
    "stopped": (("1", "running"), ("1", "exited"), True),
    "paused and replaced": (("1", "paused"), ("2", "created"), True),
    "restarting and replaced": (("1", "restarting"), ("2", "created"), True),
    "off, and replaced": (("1", "exited"), ("2", "created"), False),
    "off, and left": (("1", "exited"), ("1", "exited"), False),
    "never started, and replaced": (("1", "created"), ("2", "created"), False),
}


@pytest.mark.parametrize(("before", "after", "cut"), CUT_OFF.values(), ids=CUT_OFF)
def test_what_was_up_and_is_not_any_more(before, after, cut) -> None:
    found = unforeseen.cut_off(SERVICES, seen(web=before), seen(web=after))
    assert found == (frozenset({"web"}) if cut else frozenset())


def test_a_service_that_is_gone_is_not_started() -> None:
    assert unforeseen.cut_off(SERVICES, seen(web=("1", "running")), seen()) == frozenset()
    assert unforeseen.cut_off(SERVICES, seen(orphan=("1", "running")), seen(orphan=("2", "created"))) == frozenset()


def started(names: set[str]) -> planning.Plan:
    others = frozenset(SERVICES) - names
    return planning.start_plan("shop", Operation.START, SERVICES, SERVICES, others, {"web": "it is off"})


def test_what_was_cut_off_is_started_where_its_dependencies_say() -> None:
    first, rest = unforeseen.parts(started({"web"}))
    assert [step.id for step in first] == ["create"]
    longer = unforeseen.extended(rest, SERVICES, {"db"})
    needs = {step.id: set(step.needs) for step in longer}
    assert needs == {
        "start db": {"create"},
        "ready db": {"start db"},
        "stop api": {"create", "start db"},
        "start api": {"stop api"},
        "ready api": {"start api"},
        "start web": {"create", "start db"},
        "ready web": {"start web"},
    }


@pytest.mark.parametrize("names", [set(), {"web"}, {"off"}])
def test_nothing_that_is_planned_already_is_added(names) -> None:
    _, rest = unforeseen.parts(started({"web"}))
    assert unforeseen.extended(rest, SERVICES, names) == rest


def test_a_plan_without_a_creation_has_one_part() -> None:
    plan = planning.start_plan("shop", Operation.START, SERVICES, SERVICES, frozenset())
    assert unforeseen.parts(plan) == (plan.steps, ())


LIVING: dict[str, Any] = {
    "vpn": {"image": "vpn"},
    "app": {"image": "app", "network_mode": "service:vpn", "depends_on": {"vpn": {"condition": "service_started"}}},
    "side": {"image": "side", "pid": "service:app", "depends_on": {"app": {"condition": "service_started"}}},
    "copy": {"image": "copy", "volumes_from": ["vpn"], "depends_on": {"vpn": {"condition": "service_started"}}},
    "mail": {"image": "mail"},
}


def lives(**began: int | None) -> Observed:
    """Service → the minute in which its container was started. None: it has ended."""
    at = {**dict.fromkeys(LIVING, 0), "app": 1, "side": 2, **began}
    containers = [
        Container(
            id=name,
            name=f"shop-{name}-1",
            service=name,
            state="exited" if minute is None else "running",
            exit_code=1 if minute is None else None,
            started_at=datetime(2026, 1, 1, 0, minute or 0, tzinfo=UTC),
            digest="same",
        )
        for name, minute in at.items()
    ]
    return Observed(stack="shop", containers=tuple(containers))


@pytest.mark.parametrize(
    ("observed", "left", "again"),
    [
        (lives(), "", ""),
        (lives(vpn=5), "app", "app side"),
        (lives(vpn=5, app=6), "side", "side"),
        (lives(vpn=5, app=6, side=7), "", ""),
        (lives(vpn=None), "", "app side"),
        (lives(vpn=None, app=None), "", "side"),
        (lives(vpn=5, app=None), "", "side"),
        (lives(mail=None), "", ""),
    ],
)
def test_who_lives_in_what_has_ended_is_restarted_with_it(observed: Observed, left: str, again: str) -> None:
    """Whoever started the other container again: we, somebody else, or the engine."""
    services = dict(defined(LIVING).services)
    found = {c.service for c in observed.containers if attachments.left_behind(services, c, observed)}
    assert found == set(left.split())
    ended = {c.service for c in observed.containers if c.state == "exited"}
    ready = frozenset(LIVING) - found - ended
    assert attachments.to_restart(services, observed, set(LIVING) - ready) == set(again.split())
    plan = planning.make_plan(desired(LIVING), observed, ready)
    assert {s.service for s in plan.steps if s.kind == StepKind.STOP} == set(again.split())
    assert {s.service for s in plan.steps if s.kind == StepKind.START} == set(again.split()) | ended
    started = planning.start_plan("shop", Operation.START, services, services, ready, again=again.split())
    assert {s.service for s in started.steps if s.kind == StepKind.STOP} == set(again.split())
    assert [s.service for s in started.steps if s.kind == StepKind.START] == [
        name for name in ("mail", "vpn", "app", "side") if name in ended | set(again.split())
    ]


@pytest.mark.parametrize(
    ("names", "observed", "again"),
    [
        ("vpn", lives(), "vpn app side"),
        ("app", lives(), "app side"),
        ("side", lives(), "side"),
        ("copy", lives(), "copy"),
        ("app", lives(vpn=None), "app side"),
        ("side", lives(vpn=None), "side app"),
    ],
)
def test_a_restart_takes_those_along_who_live_in_it(names: str, observed: Observed, again: str) -> None:
    services = dict(defined(LIVING).services)
    ready = frozenset(c.service for c in observed.containers if c.state == "running")
    assert restarting.choose(services, observed, names.split(), ready).again == set(again.split())
