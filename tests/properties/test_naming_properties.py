"""What holds for every name."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from moorage.rules.naming import derived_name, slug, validate_name, with_path_hash

anything = st.text(st.characters(), max_size=300)


@given(anything)
def test_a_slug_is_a_name(text):
    assert validate_name(slug(text)) == slug(text)


@given(st.from_regex(r"[a-z0-9]([a-z0-9_]|-(?=[a-z0-9_])){0,46}[a-z0-9]", fullmatch=True))
def test_a_tidy_name_is_its_own_slug(name):
    assert slug(name[:48].rstrip("-_")) == name[:48].rstrip("-_")


@given(anything)
def test_a_slug_of_a_slug_is_itself(text):
    assert slug(slug(text)) == slug(text)


@given(anything.filter(lambda text: "\0" not in text), st.none() | anything, st.none() | anything)
def test_a_derived_name_is_a_name(directory, repository, branch):
    assert validate_name(derived_name(Path(directory), repository, branch))


@given(anything, anything.filter(lambda text: "\0" not in text))
def test_a_hashed_name_is_a_name(name, directory):
    assert validate_name(with_path_hash(name, Path(directory)))
