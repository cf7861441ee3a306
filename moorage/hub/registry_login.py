"""Who pulls from private registries: the Block `DockerRegistryCredentials` of prefect-docker, by its name."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from moorage.errors import DefinitionError
from moorage.model.image import RegistryLogin

_HUB = "index.docker.io"
"""What Docker Hub is called where no registry is named."""


async def login_of(name: str, key: str = "registry_credentials") -> RegistryLogin:
    """What the block of that name says, for builds and pulls only: it is no setting and no parameter.

    `key`: the parameter that named it. Raises DefinitionError.
    """
    given = await _block(name, key)
    url = given.registry_url
    host = urlsplit(url if "://" in url else f"https://{url}").netloc
    return RegistryLogin(registry=host or _HUB, username=given.username, password=given.password.get_secret_value())


async def _block(name: str, key: str) -> Any:
    """The block of prefect-docker, which is installed where such blocks are used, and loaded only for them."""
    where = f"registry_credentials: {name}"
    try:
        from prefect_docker import DockerRegistryCredentials  # type: ignore[import-untyped]

        return await DockerRegistryCredentials.aload(name)
    except ImportError as error:
        hint = "`pip install 'moorage[docker-blocks]'` brings it."
        raise DefinitionError(f"{where}: prefect-docker is not installed", key=key, hint=hint) from error
    except ValueError as error:
        hint = "Make one in the UI: Blocks, Docker Registry Credentials."
        raise DefinitionError(f"{where}: there is no such block on the hub", key=key, hint=hint) from error
