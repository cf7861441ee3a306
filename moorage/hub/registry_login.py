"""Logins for private registries, from the Block `DockerRegistryCredentials` of prefect-docker."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from moorage.errors import DefinitionError
from moorage.model.image import RegistryLogin

_HUB = "index.docker.io"
"""Docker Hub, used if no registry is named."""


async def login_of(name: str, key: str = "registry_credentials") -> RegistryLogin:
    """The login in the block of that name. It is used for builds and pulls only, and never stored as a parameter.

    `key`: the parameter that named the block. Raises DefinitionError.
    """
    given = await _block(name, key)
    url = given.registry_url
    host = urlsplit(url if "://" in url else f"https://{url}").netloc
    return RegistryLogin(registry=host or _HUB, username=given.username, password=given.password.get_secret_value())


async def _block(name: str, key: str) -> Any:
    """The block of prefect-docker, an optional package that is imported only when such a block is used."""
    where = f"registry_credentials: {name}"
    try:
        from prefect_docker import DockerRegistryCredentials  # type: ignore[import-untyped]

        return await DockerRegistryCredentials.aload(name)
    except ImportError as error:
        hint = "Install it with `pip install 'moorage[docker-blocks]'`."
        raise DefinitionError(f"{where}: prefect-docker is not installed", key=key, hint=hint) from error
    except ValueError as error:
        hint = "Create it in the UI: Blocks, Docker Registry Credentials."
        raise DefinitionError(f"{where}: there is no such block on the hub", key=key, hint=hint) from error
