"""What Compose says about keys that it ignores, and nothing else of what it says."""

from __future__ import annotations

from moorage.adapters.compose.ignored_keys import ignored_keys

SAID = r"""time="2026-11-29T00:02:19Z" level=warning msg="service \"my.web\": deploy.placement: only honored by Swarm"
time="2026-11-29T00:02:19Z" level=warning msg="service \"web\": volumes[v].type: volumes[].type: cluster \"is\" for Swarm"
time="2026-11-29T00:02:19Z" level=warning msg="secrets.s.driver_opts: only honored by Swarm"
time="2026-11-29T00:02:19Z" level=warning msg="The \"ssw0rd\" variable is not set. Defaulting to a blank string."
time="2026-11-29T00:02:19Z" level=info msg="service \"web\": a: b"
anything else
"""


def test_keys_by_their_place() -> None:
    assert list(ignored_keys(SAID)) == [
        "services.my.web.deploy.placement: only honored by Swarm",
        'services.web.volumes[v].type: volumes[].type: cluster "is" for Swarm',
        "secrets.s.driver_opts: only honored by Swarm",
    ]


def test_a_part_of_a_password_is_not_passed_on() -> None:
    assert "ssw0rd" not in " ".join(ignored_keys(SAID))
