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


def test_what_an_env_file_sets_without_its_escapes():
    text = 'CERT="-----BEGIN KEY-----\\nMIIE\\n"\nDOLL="pa\\$\\$word"\nQUO="with \\"quotes\\""\n'
    found = set(secret_files.assigned(text))
    assert {("CERT", "-----BEGIN KEY-----\nMIIE\n"), ("DOLL", "pa$$word"), ("QUO", 'with "quotes"')} <= found


def test_values_in_files_of_other_formats():
    json_text = '{"k1": "alpha-secret-1", "list": ["beta-secret-2"]}'
    conf = "server {\n  proxy_set_header X-Api gamma-secret-333;\n  listen 80;\n}\n- delta-secret-4\n"
    found = set(secret_files.values_within(f"{json_text}\n{conf}"))
    assert {"alpha-secret-1", "beta-secret-2", "gamma-secret-333", "delta-secret-4"} <= found
    assert not {"k1", "list", "listen", "80"} & found
    assert {"c2VjcmV0LTU1NQ=="} <= set(secret_files.values_within("cert c2VjcmV0LTU1NQ==\n"))


@pytest.mark.parametrize("text", ["A" * 200_000 + "=:", '"' + '\\"' * 100_000 + "\\", "'" * 99_999, '"x\\\n' * 50_000])
def test_no_file_takes_more_than_linear_time(text):
    """With the time of its square, each would take hours."""
    assert sum(map(len, secret_files.values_within(text))) <= 2 * len(text)
