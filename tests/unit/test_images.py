"""Images of a stack: one reference is one image for all services, made once, in order, and anew when anything in it is."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from moorage.errors import MoorageError
from moorage.model.definition import Definition, Source
from moorage.model.image import ImageWish, LocalImage
from moorage.model.state import Container, Observed
from moorage.rules import building, images, labels, planning, reading
from moorage.rules.images import BuildSource
from moorage.rules.planning import Desired, ImageNeed

NOW = datetime(2026, 1, 8, tzinfo=UTC)
ALL = ImageWish(build=None)
B: dict[str, Any] = {"build": {"context": "/p"}}


def defined(services: dict[str, Any]) -> Definition:
    config = {"name": "shop", "services": services}
    return reading.read_definition(config, config, {}, {}, Source(directory=Path("/p")))


def image(image_id: str = "1", digest: str | None = "d", age_h: float | None = None, **bases: str) -> LocalImage:
    """One that is here; `bases`: what it was built on."""
    marks = {labels.BUILD: digest, labels.BASES: images.bases_label(bases)} if digest else {}
    return LocalImage(
        image_id=image_id, labels=marks, tagged_at=None if age_h is None else NOW - timedelta(hours=age_h)
    )


def needs(services: dict[str, Any], here: dict[str, LocalImage], bases: dict[str, list[str]], wish: ImageWish):
    definition = defined(services)
    built = [name for name, one in definition.services.items() if one.builds]
    sources = {name: BuildSource(digest="d", bases=tuple(bases.get(name, ()))) for name in built}
    there = {images.full(name): one for name, one in here.items()}
    asked = {images.reference_of(definition, name) for name in definition.services}
    asked |= {one for source in sources.values() for one in images.base_references(definition, source)}
    return images.needs(definition, sources, {name: there.get(name) for name in asked}, NOW, wish)


def said(*arguments: Any) -> str:
    """`build web: no image yet; api: its image is built for web`, in order; what is there is not named."""
    try:
        found = needs(*arguments)
    except MoorageError as error:
        return str(error)
    told = [f"{_who(need)}: {need.why}" for need in found if need.why]
    return "; ".join(told)


def _who(need: ImageNeed) -> str:
    action, after = f"{need.action} " if need.action else "", f" after {'+'.join(need.after)}" if need.after else ""
    return f"{action}{need.service}{after}"


AB = {"app": {**B, "image": "x:app"}, "base": {**B, "image": "x:base"}}
ON = {"app": ["x:base"]}
FORMS: dict[str, tuple[Any, ...]] = {
    # services, images here, bases of builds, wish, what is to be done
    "one builds, one uses, none here": (
        {"api": {"image": "x:dev"}, "web": {**B, "image": "x:dev"}},
        ({}, {}, images.NO_WISH),
        "build web: no image yet; api: its image is built for web",
    ),
    "the same by another spelling": (
        {"api": {"image": "docker.io/library/x"}, "web": {**B, "image": "x:latest"}},
        ({}, {}, images.NO_WISH),
        "build web: no image yet; api: its image is built for web",
    ),
    "by the name that Compose gives": (
        {"api": {"image": "shop-web"}, "web": B},
        ({}, {}, images.NO_WISH),
        "build web: no image yet; api: its image is built for web",
    ),
    "sources changed: both change": (
        {"api": {**B, "image": "x:dev"}, "worker": {"image": "x:dev"}},
        ({"x:dev": image(digest="old")}, {}, images.NO_WISH),
        "build api: its sources changed; worker: its image is built for api",
    ),
    "nothing changed": (
        {"api": {**B, "image": "x:dev"}, "worker": {"image": "x:dev"}},
        ({"x:dev": image()}, {}, images.NO_WISH),
        "",
    ),
    "another tag is another image": (
        {"api": {"image": "x:1"}, "web": {**B, "image": "x:2"}},
        ({}, {}, images.NO_WISH),
        "pull api: not here yet; build web: no image yet",
    ),
    "a build wins over pull_policy always": (
        {"api": {"image": "x:dev", "pull_policy": "always"}, "web": {**B, "image": "x:dev"}},
        ({"x:dev": image()}, {}, images.NO_WISH),
        "",
    ),
    "a build wins over pull_policy never": (
        {"api": {"image": "x:dev", "pull_policy": "never"}, "web": {**B, "image": "x:dev"}},
        ({}, {}, images.NO_WISH),
        "build web: no image yet; api: its image is built for web",
    ),
    "one built by two is built once": (
        {"a": {**B, "image": "x:dev"}, "b": {**B, "image": "x:dev"}},
        ({}, {}, images.NO_WISH),
        "build a: no image yet; b: its image is built for a",
    ),
    "a builder without replicas builds for others": (
        {"a": {**B, "image": "x:dev", "scale": 0}, "b": {"image": "x:dev"}},
        ({}, {}, images.NO_WISH),
        "build a: no image yet; b: its image is built for a",
    ),
    "a builder without replicas that nobody needs": (
        {"a": {**B, "scale": 0}, "b": {"image": "y"}},
        ({"y": image()}, {}, ALL),
        "",
    ),
    "a base without replicas": (
        {"app": {**B, "image": "x:app"}, "base": {**B, "image": "x:base", "scale": 0}},
        ({}, ON, images.NO_WISH),
        "build base: no image yet; build app after base: no image yet",
    ),
    "FROM another service's image": (
        AB,
        ({}, ON, images.NO_WISH),
        "build base: no image yet; build app after base: no image yet",
    ),
    "FROM, though the base depends on it": (
        {**AB, "base": {**AB["base"], "depends_on": {"app": {}}}},
        ({}, ON, images.NO_WISH),
        "build base: no image yet; build app after base: no image yet",
    ),
    "additional_contexts: service": (
        AB,
        ({}, {"app": ["service:base"]}, images.NO_WISH),
        "build base: no image yet; build app after base: no image yet",
    ),
    "a service that is not there": (
        AB,
        ({}, {"app": ["service:bas"]}, images.NO_WISH),
        'build.additional_contexts: no service "bas"',
    ),
    "a chain": (
        {"a": B, "b": B, "c": B},
        ({}, {"a": ["shop-b"], "b": ["shop-c:latest"]}, images.NO_WISH),
        "build c: no image yet; build b after c: no image yet; build a after b: no image yet",
    ),
    "a ring": (
        AB,
        ({}, {"app": ["x:base"], "base": ["x:app"]}, images.NO_WISH),
        "build: images that are based on each other: app -> base -> app",
    ),
    "FROM itself is the image before": (
        {"a": {**B, "image": "x:1"}},
        ({"x:1": image("2", "d", **{"x:1": "1"})}, {"a": ["x:1"]}, images.NO_WISH),
        "",
    ),
    "a base that is no name": (
        {"a": B},
        ({}, {"a": ["../containers", "A B"]}, images.NO_WISH),
        "build a: no image yet",
    ),
    "the base changes: what stands on it too": (
        AB,
        ({"x:base": image("1", "old"), "x:app": image("2", "d", **{"x:base": "1"})}, ON, images.NO_WISH),
        "build base: its sources changed; build app after base: it is based on the image of base",
    ),
    "what stands on it changes alone": (
        AB,
        ({"x:base": image("1"), "x:app": image("2", "old")}, ON, images.NO_WISH),
        "build app: its sources changed",
    ),
    "a foreign base has another id": (
        {"app": B},
        (
            {"python:3": image("new", None), "shop-app": image("2", "d", **{"python:3": "was"})},
            {"app": ["python:3"]},
            images.NO_WISH,
        ),
        "build app: its base image changed: python:3",
    ),
    "a foreign base has the same id": (
        {"app": B},
        (
            {"python:3": image("was", None), "shop-app": image("2", "d", **{"python:3": "was"})},
            {"app": ["python:3"]},
            images.NO_WISH,
        ),
        "",
    ),
    "a foreign base that is not here any more": (
        {"app": B},
        ({"shop-app": image("2", "d", **{"python:3": "was"})}, {"app": ["python:3"]}, images.NO_WISH),
        "",
    ),
    "a foreign base that was not here before": (
        {"app": B},
        (
            {"python:3": image("new", None), "shop-app": image("2", "d", **{"python:3": ""})},
            {"app": ["python:3"]},
            images.NO_WISH,
        ),
        "",
    ),
    "FROM an image that another service pulls": (
        {"app": B, "db": {"image": "pg"}},
        ({}, {"app": ["pg"]}, images.NO_WISH),
        "pull db: not here yet; build app after db: no image yet",
    ),
    "depends_on orders what is free": (
        {"a": {**B, "depends_on": {"b": {}}}, "b": B},
        ({}, {}, images.NO_WISH),
        "build b: no image yet; build a after b: no image yet",
    ),
    "depends_on through a service that is not built": (
        {"a": {**B, "depends_on": {"m": {}}}, "m": {"image": "m", "depends_on": {"z": {}}}, "z": B},
        ({"m": image()}, {}, images.NO_WISH),
        "build z: no image yet; build a after z: no image yet",
    ),
    "nothing orders them": ({"a": B, "b": B}, ({}, {}, images.NO_WISH), "build a: no image yet; build b: no image yet"),
    "no label: somebody else built it": (
        {"a": B},
        ({"shop-a": image("1", None)}, {}, images.NO_WISH),
        "build a: its sources changed",
    ),
    "--build": (
        {"a": B, "b": {"image": "shop-a"}},
        ({"shop-a": image()}, {}, ALL),
        "build a: requested; b: its image is built for a",
    ),
    "build one": (
        {"a": B, "b": B},
        ({"shop-a": image(), "shop-b": image()}, {}, ImageWish(build=frozenset({"b"}))),
        "build b: requested",
    ),
    "pull_policy build": (
        {"a": {**B, "pull_policy": "build"}},
        ({"shop-a": image()}, {}, images.NO_WISH),
        "build a: requested",
    ),
    "one says always, one never": (
        {"a": {"image": "x", "pull_policy": "never"}, "b": {"image": "x", "pull_policy": "always"}},
        ({"x": image()}, {}, images.NO_WISH),
        "pull b: requested (pull_policy: always); a: its image is pulled for b",
    ),
    "one says never, one nothing": (
        {"a": {"image": "x", "pull_policy": "never"}, "b": {"image": "x"}},
        ({}, {}, images.NO_WISH),
        "pull b: not here yet; a: its image is pulled for b",
    ),
    "all say never": (
        {"a": {"image": "x", "pull_policy": "never"}},
        ({}, {}, images.NO_WISH),
        "services.a: image x does not exist here, and pull_policy is never",
    ),
    "never, and it is here": ({"a": {"image": "x", "pull_policy": "never"}}, ({"x": image()}, {}, images.NO_WISH), ""),
    "daily, an hour old": (
        {"a": {"image": "x", "pull_policy": "daily"}},
        ({"x": image(age_h=1)}, {}, images.NO_WISH),
        "",
    ),
    "daily, two days old": (
        {"a": {"image": "x", "pull_policy": "daily"}},
        ({"x": image(age_h=48)}, {}, images.NO_WISH),
        "pull a: due (pull_policy)",
    ),
    "weekly, two days old": (
        {"a": {"image": "x", "pull_policy": "weekly"}},
        ({"x": image(age_h=48)}, {}, images.NO_WISH),
        "",
    ),
    "weekly, eight days old": (
        {"a": {"image": "x", "pull_policy": "weekly"}},
        ({"x": image(age_h=192)}, {}, images.NO_WISH),
        "pull a: due (pull_policy)",
    ),
    "every_1h30m, two hours old": (
        {"a": {"image": "x", "pull_policy": "every_1h30m"}},
        ({"x": image(age_h=2)}, {}, images.NO_WISH),
        "pull a: due (pull_policy)",
    ),
    "every_2d12h, two days old": (
        {"a": {"image": "x", "pull_policy": "every_2d12h"}},
        ({"x": image(age_h=48)}, {}, images.NO_WISH),
        "",
    ),
    "daily, of unknown age": (
        {"a": {"image": "x", "pull_policy": "daily"}},
        ({"x": image()}, {}, images.NO_WISH),
        "pull a: due (pull_policy)",
    ),
    "daily, not here": (
        {"a": {"image": "x", "pull_policy": "daily"}},
        ({}, {}, images.NO_WISH),
        "pull a: not here yet",
    ),
    "refresh is missing": (
        {"a": {"image": "x", "pull_policy": "refresh"}},
        ({"x": image(age_h=999)}, {}, images.NO_WISH),
        "",
    ),
    "one says daily, one nothing": (
        {"a": {"image": "x"}, "b": {"image": "x", "pull_policy": "daily"}},
        ({"x": image(age_h=48)}, {}, images.NO_WISH),
        "pull b: due (pull_policy); a: its image is pulled for b",
    ),
    "pull": (
        {"a": {"image": "x"}, "b": {"image": "y", "pull_policy": "never"}, "c": B},
        ({"x": image(), "shop-c": image()}, {}, ImageWish(pull="always", complete=False)),
        "pull a: requested",
    ),
    "pull what is missing": (
        {"a": {"image": "x", "pull_policy": "daily"}, "b": {"image": "y"}},
        ({"x": image()}, {}, ImageWish(pull="missing", complete=False)),
        "pull b: not here yet",
    ),
    "every_5": (
        {"a": {"image": "x", "pull_policy": "every_5"}},
        ({}, {}, images.NO_WISH),
        "services.a.pull_policy: 'every_5' is not a policy",
    ),
    "every_": (
        {"a": {"image": "x", "pull_policy": "every_"}},
        ({}, {}, images.NO_WISH),
        "services.a.pull_policy: 'every_' is not a policy",
    ),
    "every day": (
        {"a": {"image": "x", "pull_policy": "hourly"}},
        ({}, {}, images.NO_WISH),
        "services.a.pull_policy: 'hourly' is not a policy",
    ),
    "every_ for ever": (
        {"a": {"image": "x", "pull_policy": "every_99999999999999w"}},
        ({"x": image(age_h=48)}, {}, images.NO_WISH),
        "services.a.pull_policy: '99999999999999w' is negative, or longer than 9223372036 s",
    ),
}
_REFUSED = re.compile(r"services\.a|build: images|build\.additional")


def test_what_is_done_for_the_images_of_a_stack():
    wrong = {form: found for form, (services, rest, want) in FORMS.items() if (found := said(services, *rest)) != want}
    refused = sum(bool(_REFUSED.match(want)) for *_, want in FORMS.values())
    print(f"{len(FORMS) - len(wrong) - refused} right, {refused} refused, wrong: {len(wrong)}")
    assert wrong == {}


def test_who_shares_an_image_changes_with_it_and_starts_after_it() -> None:
    services = {"api": {**B, "image": "x:dev"}, "worker": {"image": "x:dev"}, "db": {"image": "pg"}}
    found = needs(services, {"x:dev": image(digest="old"), "pg": image()}, {}, images.NO_WISH)
    desired = Desired(
        definition=defined(services),
        building=defined(services),
        leases=(),
        held=(),
        images={need.service: need for need in found},
        digests=dict.fromkeys(services, "same"),
    )
    made = [Container(id=n, name=n, service=n, state="running", digest="same") for n in services]
    plan = planning.make_plan(desired, Observed(stack="shop", containers=tuple(made)), frozenset(services))
    assert [step.id for step in plan.steps] == [
        "build api",
        "create",
        "start api",
        "ready api",
        "start worker",
        "ready worker",
    ]
    assert plan.unchanged == ("db",)
    assert plan.steps[1].detail == ("api: its sources changed", "worker: its image is built for api")


def test_a_step_waits_for_the_images_that_it_builds_on() -> None:
    found = needs(AB, {}, ON, images.NO_WISH)
    made = {"definition": defined(AB), "building": defined(AB)}
    desired = Desired(**made, leases=(), held=(), images={n.service: n for n in found}, digests={})
    plan = planning.make_plan(desired, Observed(stack="shop"), frozenset())
    assert [(step.id, step.needs) for step in plan.steps][:2] == [("build base", ()), ("build app", ("build base",))]


def test_services_that_build_one_image_from_different_sources_are_told_of() -> None:
    definition = defined({"a": {**B, "image": "x"}, "b": {**B, "image": "x"}, "c": {**B, "image": "x"}})
    sources = {name: BuildSource(digest=digest) for name, digest in (("a", "1"), ("b", "1"), ("c", "2"))}
    assert list(images.disagreements(definition, sources)) == [
        "services.c.build: x is built as services.a says, which differs"
    ]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": ""}'])
def test_a_label_that_says_nothing_says_nothing(text):
    assert images.recorded_bases({labels.BASES: text}) == {}


def test_what_is_asked_of_a_build_is_put_on_top_of_its_definition() -> None:
    definition = defined({"web": {"build": {"context": "/p", "args": {"A": "1", "B": None}}}, "db": {"image": "x"}})
    wish = ImageWish(no_cache=True, newer_bases=True, arguments=(("A", "$2"), ("C", "3")))
    config = building.with_wish(definition, wish).config
    assert config["services"]["web"]["build"] == {
        "context": "/p",
        "args": {"A": "$$2", "C": "3"},
        "no_cache": True,
        "pull": True,
    }
    assert config["services"]["db"] == {"image": "x"}
    assert building.with_wish(definition, images.NO_WISH) is definition
