"""Names of stacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from moorage.errors import DefinitionError
from moorage.rules.naming import derived_name, slug, validate_name, with_path_hash


@pytest.mark.parametrize("name", ["shop", "a", "0", "my-shop_2", "a" * 48])
def test_allowed(name):
    assert validate_name(name) == name


@pytest.mark.parametrize(
    ("name", "better"),
    [
        ("", "stack"),
        ("Shop", "shop"),
        ("-shop", "shop"),
        ("my shop", "my-shop"),
        ("shop\n", "shop"),
        ("a" * 49, "a" * 48),
        ("../../etc", "etc"),
        ("größe", "grosse"),
    ],
)
def test_refused_with_a_name_that_would_do(name, better):
    with pytest.raises(DefinitionError) as caught:
        validate_name(name)
    assert f"`{better}`" in caught.value.hint
    assert caught.value.exit_code == 2


def test_a_long_name_is_not_repeated_in_full():
    with pytest.raises(DefinitionError) as caught:
        validate_name("x" * 10_000)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("My App.v2", "my-app-v2"),
        ("feature/Add  ports", "feature-add-ports"),
        ("Café Ünïcode", "cafe-unicode"),
        ("_private", "private"),
        ("trailing--", "trailing"),
        ("日本", "stack"),
        ("\ud800", "stack"),
        ("a" * 300, "a" * 48),
        ("a" * 47 + "-b", "a" * 47),
    ],
)
def test_slug(text, expected):
    assert slug(text) == expected


def test_derived_from_the_directory():
    assert derived_name(Path("/home/me/My Shop"), "shop", None) == "myshop"
    assert derived_name(Path("/"), None, None) == "stack"


def test_derived_in_a_worktree():
    assert derived_name(Path("/tmp/wt"), "shop", "feature/x") == "shop-feature-x"


def test_path_hash_tells_two_directories_apart():
    one, other = (with_path_hash("shop", Path(path)) for path in ("/a/shop", "/b/shop"))
    assert one != other
    assert one == with_path_hash("shop", Path("/a/shop"))
    assert validate_name(one).startswith("shop-")


def test_path_hash_fits():
    assert len(with_path_hash("a" * 48, Path("/a"))) == 48
