"""Variables, quoted so that a shell, or Compose, reads back what was meant."""

from __future__ import annotations

import subprocess

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from moorage.show.variables_text import dotenv_text, shell_text

HOSTILE = "a b'\"$HOME`id`\\;*\n#é"


@hypothesis_settings(max_examples=25)
@given(st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0")))
def test_a_shell_reads_back_what_was_meant(value):
    script = shell_text({"MOORAGE_X": value}) + '\nprintf %s "$MOORAGE_X"'
    done = subprocess.run(["sh", "-c", script], capture_output=True, check=True)
    assert done.stdout == value.encode()


def test_plain_values_stay_plain():
    plain = {"MOORAGE_URL_WEB_80": "http://127.0.0.1:8010", "MOORAGE_PORT_WEB_80": "8010"}
    assert shell_text(plain).splitlines() == [
        "export MOORAGE_URL_WEB_80=http://127.0.0.1:8010",
        "export MOORAGE_PORT_WEB_80=8010",
    ]
    assert dotenv_text(plain).splitlines() == ["MOORAGE_URL_WEB_80=http://127.0.0.1:8010", "MOORAGE_PORT_WEB_80=8010"]


def test_dotenv_is_quoted_where_it_has_to_be():
    assert dotenv_text({"A": HOSTILE}) == 'A="a b\'\\"\\$HOME`id`\\\\;*\\n#é"'
