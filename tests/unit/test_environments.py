"""What the programs that we start are not told."""

import pytest

from moorage.rules.environments import for_programs


@pytest.mark.parametrize(
    "name",
    [
        "PREFECT_API_AUTH_STRING",
        "PREFECT_SERVER_API_AUTH_STRING",
        "PREFECT_API_KEY",
        "PREFECT_SERVER_ENCRYPTION_KEY",
        "PREFECT_API_DATABASE_CONNECTION_URL",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL",
        "PREFECT_SERVER_DATABASE_PASSWORD",
        "PREFECT_CLIENT_CUSTOM_HEADERS",
        "MOORAGE_HUB_AUTH",
    ],
)
def test_keys_of_the_hub_stay_with_us(name):
    assert for_programs({name: "x", "PATH": "/bin"}) == {"PATH": "/bin"}


@pytest.mark.parametrize(
    "name",
    ["PATH", "DOCKER_HOST", "API_KEY", "MY_PREFECT_API_KEY", "PREFECT_API_URL", "MOORAGE_HOME", "MOORAGE_HUB_AUTHOR"],
)
def test_all_else_is_handed_on(name):
    assert for_programs({name: "x"}) == {name: "x"}
