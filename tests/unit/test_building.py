"""Who builds, and what a builder honours."""

from __future__ import annotations

from pathlib import Path

import pytest

from moorage.errors import DefinitionError, UnsupportedByBackendError
from moorage.model.image import BuilderName, BuildSpec
from moorage.rules import building, reading
from tests.unit.test_reading import SOURCE


def spec(**build):
    return BuildSpec(stack="shop", service="web", tag="shop-web", file=Path("x"), build={"context": "/p", **build})


@pytest.mark.parametrize(
    ("flag", "setting", "written", "builder"),
    [
        (None, "auto", None, "compose"),
        (None, "auto", "dagger", "dagger"),
        (None, "auto", "auto", "compose"),
        (None, "compose", "dagger", "compose"),
        ("dagger", "compose", "compose", "dagger"),
        ("auto", "auto", "dagger", "dagger"),
        ("compose", "dagger", "dagger", "compose"),
    ],
)
def test_the_first_who_says_something_is_heard(flag, setting, written, builder):
    assert building.chosen(flag, setting, written) == builder


def test_the_file_may_name_a_builder():
    def read(builder):
        config = {"name": "shop", "x-moorage": {"builder": builder}, "services": {"web": {"image": "x"}}}
        return reading.read_definition(config, config, {}, {}, SOURCE).builder

    assert read("dagger") == "dagger"
    with pytest.raises(DefinitionError, match=r"x-moorage\.builder: 'kaniko'") as caught:
        read("kaniko")
    assert caught.value.hint == "Valid values: auto, compose, dagger."


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("cache_from", ["type=registry,ref=x"]),
        ("cache_to", ["type=local,dest=x"]),
        ("network", "host"),
        ("shm_size", "1000"),
        ("extra_hosts", ["a=1.2.3.4"]),
        ("ulimits", {"nofile": 10}),
        ("additional_contexts", {"more": "/more"}),
        ("privileged", True),
        ("no_cache", True),
        ("pull", True),
        ("isolation", "hyperv"),
        ("entitlements", ["security.insecure"]),
        ("provenance", "max"),
        ("a_key_of_next_year", "1"),
        ("platforms", ["linux/amd64", "linux/arm64"]),
        ("ssh", ["other=/run/agent"]),
        ("secrets", [{"source": "token", "mode": 0o400}]),
        ("context", "https://example.org/repo.git"),
    ],
)
def test_what_dagger_cannot_honour_is_named(key, value):
    with pytest.raises(UnsupportedByBackendError, match=rf"services\.web\.build\.{key}: dagger") as caught:
        building.refuse_unhonoured(spec(**{key: value}), BuilderName.DAGGER)
    assert caught.value.exit_code == 2
    assert caught.value.fields["key"] == f"services.web.build.{key}"
    building.refuse_unhonoured(spec(**{key: value}), BuilderName.COMPOSE)


def test_what_dagger_honours_is_let_pass():
    building.refuse_unhonoured(
        spec(
            dockerfile="Dockerfile",
            args={"A": "1"},
            labels={"a": "b"},
            target="final",
            secrets=[{"source": "token", "target": "t"}],
            ssh=["default"],
            platforms=["linux/amd64"],
            tags=["x:1"],
            network="default",
            no_cache=False,
            cache_from=[],
        ),
        BuilderName.DAGGER,
    )


def test_arguments_without_a_value_are_the_dockerfile_s():
    assert building.arguments({"args": {"A": 1, "B": None, "C": ""}}) == {"A": "1", "C": ""}
    assert building.arguments({"args": ["A=1=2", "B="]}) == {"A": "1=2", "B": ""}


def test_secrets_come_from_files_values_and_variables():
    build = {"secrets": [{"source": "file"}, {"source": "content", "target": "c"}, {"source": "variable"}]}
    config = {"secrets": {"file": {"file": "/f"}, "content": {"content": "v"}, "variable": {"environment": "V"}}}
    found = building.secrets("web", build, config, {"V": "from V"}.get)
    assert [(one.id, one.kind, one.text) for one in found] == [
        ("file", "file", "/f"),
        ("c", "value", "v"),
        ("variable", "value", "from V"),
    ]
    assert "from V" not in repr(found)
    with pytest.raises(UnsupportedByBackendError, match="neither a file nor a value"):
        building.secrets("web", build, config, {}.get)
