"""Which files hold secrets, and what env files set."""

from pathlib import PurePath

import pytest

from moorage.errors import DefinitionError
from moorage.rules import reading, secret_files


@pytest.mark.parametrize(
    "path", ["secrets.env", "/a/.env.secret", "db-password.env", "secrets/db.env", "API_TOKEN.env"]
)
def test_names_that_say_secret(path):
    assert secret_files.says_secret(PurePath(path))


@pytest.mark.parametrize("path", [".env", "web.env", "/home/secret/shop/web.env", "secretary.env", "tokenizer/web.env"])
def test_names_that_do_not(path):
    assert not secret_files.says_secret(PurePath(path))


def test_what_an_env_file_sets():
    text = """
# comment
A=plain
export B = "two words" # why
C: 'with # hash'
D=bare # why
E="first
second"
EMPTY=
"""
    found = set(secret_files.assigned(text))
    assert {
        ("A", "plain"),
        ("B", "two words"),
        ("C", "with # hash"),
        ("D", "bare"),
        ("E", "first\nsecond"),
        ("EMPTY", ""),
    } <= found
    assert {name for name, _ in found} == {"A", "B", "C", "D", "E", "EMPTY"}


def test_env_files_of_services():
    raw = {
        "services": {
            "a": {"env_file": "one.env"},
            "b": {"env_file": ["one.env", {"path": "two.env", "required": False}]},
            "c": None,
        }
    }
    assert secret_files.env_files(raw) == {"one.env": ["a", "b"], "two.env": ["b"]}


@pytest.mark.parametrize("wrong", ["a.env", [1], [""], {"a": "b"}])
def test_a_list_of_paths_is_expected(wrong):
    assert reading.secret_files({"x-moorage": {"secret_files": ["a.env"]}}) == ("a.env",)
    assert reading.secret_files({}) == ()
    with pytest.raises(DefinitionError, match="secret_files: expected a list"):
        reading.secret_files({"x-moorage": {"secret_files": wrong}})
