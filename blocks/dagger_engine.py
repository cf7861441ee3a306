"""The Block `DaggerEngine`: address and credentials of a Dagger engine; `up` takes its name as `dagger`."""

from __future__ import annotations

from typing import Any

from prefect.blocks.core import Block
from pydantic import ConfigDict, Field, HttpUrl

from moorage.hub.registry_login import login_of
from moorage.model.image import RegistryLogin

_LOGO = HttpUrl("https://cdn.sanity.io/images/3ugk85nk/production/14a315b79990200db7341e42553e23650b34bb96-250x250.png")


class DaggerEngine(Block):
    """A Dagger engine that builds images, and its credentials for a private registry.

    Attributes:
        runner_host: Address of the engine, in the format of `_EXPERIMENTAL_DAGGER_RUNNER_HOST`.
        cli: Path of the Dagger CLI on the worker's machine. Empty: Moorage looks for one.
        registry_credentials: Name of a Docker Registry Credentials block, for pulling from a private registry.

    Example:
        Save an engine and build a stack's images with it:
        ```python
        from blocks.dagger_engine import DaggerEngine
        from prefect.deployments import run_deployment

        DaggerEngine(runner_host="tcp://dagger.example.org:8080").save("builds")
        run_deployment("up/up", parameters={"path": "/srv/shop", "builder": "dagger", "dagger": "builds"})
        ```
    """

    model_config = ConfigDict(use_attribute_docstrings=False)

    _block_type_name = "Moorage Dagger Engine"
    _block_type_slug = "moorage-dagger-engine"
    _description = "A Dagger engine that builds the images of stacks, and its credentials for private registries."
    _logo_url = _LOGO
    _documentation_url = HttpUrl("https://docs.dagger.io/reference/configuration/custom-runner/")

    runner_host: str = Field(
        title="Runner host",
        pattern=r"^(unix|tcp|docker-container|docker-image|podman-container|kube-pod)://\S+$",
        examples=["unix:///run/dagger/engine.sock", "tcp://dagger.example.org:8080"],
    )
    cli: str | None = Field(default=None, title="Dagger CLI", min_length=1, examples=["/usr/local/bin/dagger"])
    registry_credentials: str | None = Field(
        default=None, title="Docker Registry Credentials", examples=["our-registry"]
    )

    def settings(self) -> dict[str, Any]:
        """The Moorage settings that it sets."""
        return {"dagger_runner_host": self.runner_host, **({"dagger_cli": self.cli} if self.cli else {})}

    async def logins(self) -> tuple[RegistryLogin, ...]:
        """Its credentials. They are used for builds only, and never stored as a parameter. Raises DefinitionError."""
        if not self.registry_credentials:
            return ()
        return (await login_of(self.registry_credentials, "dagger"),)
