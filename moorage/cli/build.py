"""`moorage build`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Annotated

from cyclopts import Parameter

from moorage.cli.completion import ServiceName
from moorage.cli.image_verbs import make_images
from moorage.cli.options import LockTimeout, Selection, request_of
from moorage.errors import DefinitionError
from moorage.model.image import BuilderName, ImageWish


def build(
    *services: ServiceName,
    selection: Selection = Selection(),  # noqa: B008 - frozen
    build_arg: Annotated[
        list[str] | None, Parameter(help="Build argument KEY=VALUE, or KEY with its value in the environment.")
    ] = None,
    no_cache: Annotated[bool, Parameter(help="Do not use the builder's cache.")] = False,
    pull: Annotated[bool, Parameter(help="Look for newer base images.")] = False,
    with_dependencies: Annotated[bool, Parameter(help="Build also what the services depend on.")] = False,
    builder: Annotated[
        BuilderName | None,
        Parameter(help="Image builder: auto, compose, dagger. Default: MOORAGE_BUILDER, then the compose file."),
    ] = None,
    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"], help="Show no output of the builder.")] = False,
    patience: LockTimeout = LockTimeout(),  # noqa: B008 - frozen
    json: Annotated[bool, Parameter(help="Print the result as JSON.")] = False,
) -> int:
    """Build the images of services, each after those that it is based on. Starts nothing.

    Parameters
    ----------
    services
        Services whose images to build (default: all that have a `build`).
    """
    from moorage.work.operations.build import build_services

    wish = ImageWish(
        build=frozenset(services) or None,
        complete=False,
        no_cache=no_cache,
        newer_bases=pull,
        arguments=tuple(_arguments(build_arg or ())),
    )
    request = request_of(selection).model_copy(update={"images": wish, "builder": builder})
    return make_images(
        lambda context: build_services(context, request, services, dependencies=with_dependencies),
        services,
        patience,
        ("built", "build"),
        quiet=quiet,
        json=json,
    )


def _arguments(given: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Raises DefinitionError: one has no name. One whose variable is not set is left out, as with Docker."""
    for one in given:
        name, sign, value = one.partition("=")
        if not name:
            message = f"--build-arg: {one!r} has no name"
            raise DefinitionError(message, hint="Example: --build-arg VERSION=1.2.")
        if sign or name in os.environ:
            yield name, value if sign else os.environ[name]
