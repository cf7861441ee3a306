"""`moorage pull`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from cyclopts import Parameter

from moorage.cli.completion import ServiceName
from moorage.cli.image_verbs import make_images
from moorage.cli.options import LockTimeout, Selection, request_of
from moorage.model.image import ImageWish


class PullPolicy(StrEnum):
    """Which images are pulled."""

    ALWAYS = "always"
    MISSING = "missing"


def pull(
    *services: ServiceName,
    selection: Selection = Selection(),  # noqa: B008 - frozen
    policy: Annotated[PullPolicy, Parameter(help="always: also what is here already; missing.")] = PullPolicy.ALWAYS,
    include_deps: Annotated[bool, Parameter(help="Pull also for what the services depend on.")] = False,
    ignore_buildable: Annotated[bool, Parameter(show=False)] = False,  # noqa: ARG001 - they always are
    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"], help="Show no progress.")] = False,
    patience: LockTimeout = LockTimeout(),  # noqa: B008 - frozen
    json: Annotated[bool, Parameter(help="Print the result as JSON.")] = False,
) -> int:
    """Pull the images of services. Those that a service builds, or must not pull, are left alone. Starts nothing.

    Parameters
    ----------
    services
        Services whose images to pull (default: all).
    ignore_buildable
        For scripts written for Compose: images that a service builds are never pulled.
    """
    from moorage.work.operations.build import pull_services

    request = request_of(selection).model_copy(update={"images": ImageWish(pull=policy.value, complete=False)})
    return make_images(
        lambda context: pull_services(context, request, services, dependencies=include_deps),
        services,
        patience,
        ("pulled for", "pull"),
        quiet=quiet,
        json=json,
    )
