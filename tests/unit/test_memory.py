"""Whether there is memory for what is about to start, and what to stop if there is not."""

from __future__ import annotations

from moorage.model.definition import Service
from moorage.model.state import Container, Observed
from moorage.model.step import Operation, Plan, Step, StepKind
from moorage.model.usage import ServiceUsage, StackUsage, Usage
from moorage.rules import memory
from moorage.rules.memory import Starting

MB = 10**6
CONFIG = {
    "services": {
        "web": {"mem_limit": str(300 * MB)},
        "api": {"deploy": {"resources": {"limits": {"memory": str(200 * MB)}}}},
        "db": {},
        "new": {},
    }
}


def starting(**services: tuple[int, int]) -> dict[str, Starting]:
    return {name: Starting(replicas=many, running=running) for name, (many, running) in services.items()}


def shortage(begun, config, before, peaks, free):
    return memory.shortage("shop", memory.needs(begun, config, before, peaks), free)


def stack(name: str, megabytes: int | None, cpu: float = 0.0, **services: list[int]) -> StackUsage:
    parts = {
        key: ServiceUsage(
            state="running",
            total=Usage(),
            containers={f"{key}-{n}": Usage(memory_bytes=one * MB) for n, one in enumerate(many)},
        )
        for key, many in services.items()
    }
    total = Usage(memory_bytes=None if megabytes is None else megabytes * MB, cpu_percent=cpu)
    return StackUsage(stack=name, total=total, services=parts)


def test_a_limit_counts_before_what_was_seen_and_what_is_unknown_for_nothing():
    begun = starting(web=(1, 0), api=(2, 0), db=(1, 0), new=(9, 0))
    found = shortage(begun, CONFIG, {}, {"web": 1, "db": 50 * MB}, 0)
    assert [(need.service, need.bytes, need.limited) for need in found.needs] == [
        ("api", 400 * MB, True),
        ("web", 300 * MB, True),
        ("db", 50 * MB, False),
    ]
    assert found.bytes == 750 * MB
    said = memory.words(found)
    assert said == (
        "it needs 750.0MB of memory (api 400.0MB by its limit, web 300.0MB by its limit, db 50.0MB as was seen), "
        "and 0B is free"
    )


def test_what_is_just_enough_is_enough():
    web = starting(web=(1, 0))
    assert shortage(web, CONFIG, {}, {}, 300 * MB) is None
    assert shortage(web, CONFIG, {}, {}, 300 * MB - 1).bytes == 1
    assert shortage(starting(new=(1, 0)), CONFIG, {}, {}, 0) is None


def test_what_is_made_again_needs_what_it_needs_more_than_before():
    before = {"services": {"web": {"mem_limit": str(100 * MB)}}}
    assert shortage(starting(web=(1, 1)), CONFIG, CONFIG, {}, 0) is None
    assert shortage(starting(web=(1, 1)), CONFIG, before, {}, 0).bytes == 200 * MB
    assert shortage(starting(web=(3, 1)), CONFIG, CONFIG, {}, 0).bytes == 600 * MB
    assert shortage(starting(web=(1, 1)), CONFIG, {}, {"web": 50 * MB}, 0).bytes == 250 * MB
    assert shortage(starting(db=(1, 1)), CONFIG, {}, {"db": 50 * MB}, 0) is None


def test_which_services_start_and_how_many_of_them_run():
    services = {name: Service(name=name, replicas=2) for name in ("web", "db", "api")}
    kinds = ((StepKind.CREATE, None), (StepKind.START, "web"), (StepKind.START, "db"), (StepKind.READY, "api"))
    plan = Plan(
        stack="shop",
        operation=Operation.UP,
        steps=tuple(Step(kind=kind, service=service) for kind, service in kinds),
    )
    boxes = [("web", "running"), ("db", "running"), ("db", "running"), ("api", "exited")]
    observed = Observed(
        stack="shop",
        containers=tuple(
            Container(id=f"{n}", name=f"{n}", service=service, number=n + 1, state=state)
            for n, (service, state) in enumerate(boxes)
        ),
    )
    assert memory.starting(plan, services, observed) == starting(web=(2, 1), db=(2, 2))


def test_the_idlest_are_named_and_no_more_than_are_needed():
    others = [
        stack("busy", 900, 80.0),
        stack("small", 10, 0.1),
        stack("large", 500, 0.3),
        stack("stopped", None),
        stack("middle", 100, 0.2),
    ]
    assert [one.stack for one in memory.idlest(others, 400 * MB)] == ["large"]
    assert [one.stack for one in memory.idlest(others, 550 * MB)] == ["large", "middle"]
    assert [one.stack for one in memory.idlest(others, 5000 * MB)] == ["large", "middle", "small"]
    said = memory.advice(memory.idlest(others, 550 * MB))
    assert said.startswith("`moorage stop --name large` frees 500.0MB (CPU 0 %), `moorage stop --name middle`")
    assert "MOORAGE_MEMORY=ignore" in memory.advice(())


def test_the_largest_replica_is_what_is_learnt():
    assert memory.peaks_of(stack("shop", 9, web=[3, 7, 5], db=[])) == {"web": 7 * MB}
