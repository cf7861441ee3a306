"""What of `moorage exec …` and `moorage run …` is ours, and what is the command's."""

from __future__ import annotations

import pytest

from moorage.cli.command_apart import with_command_apart


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("exec web ls -la", "exec web -- ls -la"),
        ("exec web -- ls -la", "exec web -- ls -la"),
        ("exec -u 0 -e A=1 --workdir=/tmp -T web sh -c x", "exec -u 0 -e A=1 --workdir=/tmp -T web -- sh -c x"),
        ("exec web ls -- --user", "exec web -- ls -- --user"),
        ("exec web env --help", "exec web -- env --help"),
        ("exec -p shop --index 2 web cat", "exec -p shop --index 2 web -- cat"),
        ("exec web", "exec web"),
        ("exec --help", "exec --help"),
        ("exec -- web ls", "exec -- web ls"),
        ("exec", "exec"),
        ("run web rake -T", "run web -- rake -T"),
        (
            "run --rm -T -e A=1 -v a:/b --entrypoint sh web -c x",
            "run --rm -T -e A=1 -v a:/b --entrypoint sh web -- -c x",
        ),
        ("run -p shop --no-deps web", "run -p shop --no-deps web"),
    ],
)
def test_what_stands_behind_the_service_is_the_commands(given, made):
    assert with_command_apart(given.split()) == made.split()
