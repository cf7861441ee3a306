"""Calls to Dagger's API; they run in the process of `session.py`.

`tests/contract/test_dagger.py` checks every call here against the engine's schema.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moorage.adapters.dagger.relay import Relay

if TYPE_CHECKING:
    import dagger


_CHECKED = "health check errored: "
_CUT_OFF = ("has stopped", "cannot exec in a stopped container", "exit code: 137")
"""What the engine says when a health check was about to begin in a container that ended, had begun, was under way."""
_LATE_LINES_S = 1.0
"""How long the last lines of a service may take to the CLI's log."""


class WrongPlatformError(Exception):
    """An image was built for the engine's platform instead of the one asked for."""


class CutOffError(Exception):
    """A service's health check was cut off, as it is when the service ends: code and output are in the log at best."""


class Pipelines:
    """The requests that a session answers."""

    def __init__(self, client: dagger.Client) -> None:
        self._client = client
        self._prepared: dict[str, dagger.Container] = {}
        self._services: dict[str, dagger.Service] = {}
        self._tunnels: dict[str, dagger.Service] = {}
        self._relay = Relay()
        self._secrets = 0

    async def do(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Answer one request. Raises the SDK's errors."""
        answer: dict[str, Any] = await getattr(self, f"_{request['do']}")(request)
        return answer

    async def _login(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Use a registry's credentials for the rest of the session."""
        password = self._secret(request["password"])
        container = self._client.container()
        await container.with_registry_auth(request["registry"], request["username"], password).id()
        return {}

    async def _build(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Build an image and write it to an archive that the Docker engine can load."""
        import dagger

        container = self._built(request)
        await self._check_platform(container, request)
        await container.as_tarball(media_types=dagger.ImageMediaTypes.DockerMediaTypes).export(request["archive"])
        return {}

    async def _check_platform(self, container: dagger.Container, request: Mapping[str, Any]) -> None:
        """Refuse an image that would say it is for another platform than was asked for. Raises WrongPlatformError."""
        import dagger

        if asked := request.get("platform"):
            wanted = await self._client.container(platform=dagger.Platform(asked)).platform()
            if (built := await container.platform()) != wanted:
                raise WrongPlatformError(
                    f"asked for {asked}, Dagger built for {built}: it does so where the last stage is `FROM scratch`; "
                    "Compose builds it as asked (`--builder compose`)"
                )

    def _built(self, request: Mapping[str, Any]) -> dagger.Container:
        container = self._from_recipe(request) if "recipe" in request else self._from_dockerfile(request)
        for name, value in request["labels"].items():
            container = container.with_label(name, value)
        return container

    def _from_dockerfile(self, request: Mapping[str, Any]) -> dagger.Container:
        import dagger

        context = self._client.host().directory(request["context"], exclude=request["exclude"])
        for name, text in request["files"].items():
            context = context.with_new_file(name, text)
        agent = request.get("ssh_agent")
        return context.docker_build(
            dockerfile=request["dockerfile"],
            build_args=[dagger.BuildArg(name, value) for name, value in request["args"].items()],
            target=request["target"],
            secrets=[self._named_secret(name, value) for name, value in request["secrets"].items()],
            platform=dagger.Platform(request["platform"]) if request["platform"] else None,
            ssh=self._client.host().unix_socket(agent) if agent else None,
        )

    def _from_recipe(self, request: Mapping[str, Any]) -> dagger.Container:
        """A project without a Dockerfile: dependencies in a layer of their own, with a cache volume, not as root."""
        recipe, host = request["recipe"], self._client.host()
        container = self._client.container().from_(recipe["base"]).with_workdir(recipe["workdir"])
        for name, value in recipe["environment"].items():
            container = container.with_env_variable(name, value)
        wanted = host.directory(request["context"], include=recipe["manifests"])
        project = host.directory(request["context"], include=recipe["names"], exclude=request["exclude"])
        cache = self._client.cache_volume(f"moorage-{recipe['kind']}")
        container = container.with_directory(".", wanted).with_mounted_cache(recipe["cache"], cache)
        container = container.with_exec(recipe["install"]).with_directory(".", project)
        if recipe["build"]:
            container = container.with_exec(recipe["build"])
        container = container.without_mount(recipe["cache"]).without_entrypoint()
        container = container.with_user(recipe["user"]).with_exposed_port(recipe["port"])
        return container.with_default_args(recipe["command"]) if recipe["command"] else container.without_default_args()

    # --- services -----------------------------------------------------------------------------------------------

    async def _prepare(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Pull or build the image of a service, so that a start is nothing but a start."""
        container = await self._container(request).sync()
        self._prepared[request["name"]] = await self._with_checks(container, request)
        return {}

    async def _with_checks(self, container: dagger.Container, request: Mapping[str, Any]) -> dagger.Container:
        """The container with what the engine is to ask, and nothing else, before a service counts as started.

        It would ask each port of a Dockerfile's EXPOSE, too, and cannot start an image with `HEALTHCHECK NONE`.
        """
        for port in await container.exposed_ports():
            number, protocol = await port.port(), await port.protocol()
            container = container.with_exposed_port(number, protocol=protocol, experimental_skip_healthcheck=True)
        for number in request["ports"]:
            skipped = number not in request["asked"]
            container = container.with_exposed_port(number, experimental_skip_healthcheck=skipped)
        health = {name: value for name, value in (request["health"] or {}).items() if value}
        if "off" in health:
            return container.without_docker_healthcheck()
        if "args" not in health:
            image = await _health_of(container)
            if not image or not health:
                return container if image else container.without_docker_healthcheck()
            health = {**image, **health}
        return container.with_docker_healthcheck(**health)

    async def _start(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Start a service that has been prepared, wait until the engine has found it ready, and open its tunnels.

        The engine gives each port 15 minutes, a health check as many tries as it says, each without a limit. Raises
        ExecError with its output if it ends before.
        """
        container = self._prepared.pop(request["name"])
        service = container.as_service(
            args=request["command"], use_entrypoint=not request["own_entrypoint"], no_init=not request["init"]
        )
        self._services[request["name"]] = await _started(service.with_hostname(request["hostname"]))
        endpoints = await self._tunnel(request)
        if request["listeners"]:
            ports = [one["frontend"] for one in request["tunnels"]]
            await self._relay.open(request["name"], request["listeners"], ports)
        return {"endpoints": endpoints}

    async def _tunnel(self, request: Mapping[str, Any]) -> list[str]:
        import dagger

        if not request["tunnels"]:
            return []
        forwards = [dagger.PortForward(backend=one["backend"], frontend=one["frontend"]) for one in request["tunnels"]]
        service = self._services[request["name"]]
        tunnel = await self._client.host().tunnel(service, ports=forwards).start()
        self._tunnels[request["name"]] = tunnel
        return [await tunnel.endpoint(port=one["frontend"]) for one in request["tunnels"]]

    async def _run(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Run a one-shot to its end. Raises ExecError with its output."""
        command = request["command"] or await self._default_command(request)
        container = self._container(request).with_exec(
            command, use_entrypoint=not request["own_entrypoint"], no_init=not request["init"]
        )
        return {"output": await container.combined_output()}

    async def _default_command(self, request: Mapping[str, Any]) -> list[str]:
        return await self._container(request).default_args()

    async def _stop(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Stop the tunnels of a service, then the service: by SIGTERM, which it may ignore, or by SIGKILL.

        The engine waits for its end without a limit; it may be asked again meanwhile, with `kill`.
        """
        name = request["name"]
        self._relay.close(name)
        if tunnel := self._tunnels.pop(name, None):
            await tunnel.stop(kill=True)
        if service := self._services.get(name):
            await service.stop(kill=request["kill"])
            self._services.pop(name, None)
        return {}

    def _container(self, request: Mapping[str, Any]) -> dagger.Container:
        """The container of a service: image, settings, files, and bindings to its dependencies."""
        build = request["build"]
        container = self._built(build) if build else self._client.container().from_(request["image"])
        if request["user"]:
            container = container.with_user(request["user"])
        if request["workdir"]:
            container = container.with_workdir(request["workdir"])
        for name, value in request["environment"].items():
            container = container.with_env_variable(name, value)
        for name, value in request["secret_environment"].items():
            container = container.with_secret_variable(name, self._secret(value))
        if request["entrypoint"] is not None:
            container = container.with_entrypoint(request["entrypoint"], keep_default_args=True)
        return self._with_mounts(container, request)

    def _with_mounts(self, container: dagger.Container, request: Mapping[str, Any]) -> dagger.Container:
        owner = request["user"] or ""
        for path in request["scratch"]:
            container = container.with_mounted_temp(path)
        for path in request["volumes"]:
            container = container.with_directory(path, self._client.directory(), owner=owner)
        for path, source in request["copies"].items():
            host = self._client.host()
            if Path(source).is_dir():
                container = container.with_directory(path, host.directory(source))
            else:
                container = container.with_file(path, host.file(source))
        for file in request["files"]:
            secret = self._secret(file["content"])
            owned = f"{file['uid']}:{file['gid']}"
            container = container.with_mounted_secret(file["target"], secret, owner=owned, mode=file["mode"])
        for alias, name in request["bindings"].items():
            container = container.with_service_binding(alias, self._services[name])
        return container

    def _secret(self, value: str) -> dagger.Secret:
        self._secrets += 1
        return self._client.set_secret(f"moorage-{self._secrets}", value)

    def _named_secret(self, name: str, value: str) -> dagger.Secret:
        return self._client.set_secret(name, value)


async def _started(service: dagger.Service) -> dagger.Service:
    """Start a service. Raises CutOffError if the last try of its health check met its end; what it said comes later."""
    import dagger

    try:
        return await service.start()
    except dagger.QueryError as error:
        said = f"{error}\n{getattr(error, 'stderr', '')}"
        if _CHECKED in said and any(words in said for words in _CUT_OFF):
            await asyncio.sleep(_LATE_LINES_S)
            raise CutOffError(str(error).partition(" [")[0]) from error
        raise


async def _health_of(container: dagger.Container) -> dict[str, Any]:
    """The health check of an image. Empty: it has none, or `NONE`."""
    import dagger

    image = container.docker_healthcheck()
    try:
        found: dict[str, Any] = {"args": await image.args()}
    except dagger.InvalidQueryError:  # the engine's answer is null
        return {}
    found |= {"shell": await image.shell(), "interval": await image.interval(), "timeout": await image.timeout()}
    found |= {"start_period": await image.start_period(), "start_interval": await image.start_interval()}
    return {**found, "retries": await image.retries()}
