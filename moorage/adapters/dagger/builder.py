"""Builds images in Dagger's engine, exports them as archives, and loads them into Docker under the same name."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path
from typing import Any

from moorage import bounded
from moorage.adapters.context_files import ignored
from moorage.adapters.dagger.child import DaggerChild, DaggerFailedError
from moorage.adapters.dagger.preflight import DaggerLook
from moorage.errors import DefinitionError, ImageError, TransientImageError
from moorage.interfaces import Engine, ImageBuilder, Line
from moorage.model.image import Availability, BuilderName, BuildSpec, BuiltImage, RegistryLogin
from moorage.rules import building
from moorage.settings import Settings

_OWN_DOCKERFILE = ".moorage.Dockerfile"
_PASSING = frozenset({"TransportError", "ClientConnectionError"})


class DaggerBuilder(ImageBuilder):
    """Builds images with Dagger. Each build has a session of its own, and everything it started ends with it."""

    def __init__(self, settings: Settings, engine: Engine, logins: tuple[RegistryLogin, ...] = ()) -> None:
        self._settings = settings
        self._engine = engine
        self._logins = logins
        self._guard = threading.Lock()
        self._under_way: set[DaggerChild] = set()
        self._aborted = False

    def preflight(self) -> Availability:
        """Checks SDK, CLI and engine; starts nothing."""
        return DaggerLook(self._settings, self._engine).preflight()

    def build(self, spec: BuildSpec, on_line: Line) -> BuiltImage:
        building.refuse_unhonoured(spec, BuilderName.DAGGER)
        asked = request_of(spec)
        environment = DaggerLook(self._settings, self._engine).environment()
        child = DaggerChild(environment, self._settings.dagger_connect_timeout_s, on_line, self._logins)
        with self._guard:
            if self._aborted:
                raise _error(spec, DaggerFailedError({"message": "ended before it began"}))
            self._under_way.add(child)
        try:
            with child:
                archive = child.folder / "image.tar"
                child.ask({**asked, "do": "build", "archive": str(archive)}, self._settings.image_timeout_s)
                return self._take(spec, archive)
        except TimeoutError:
            message = f"timed out after {self._settings.image_timeout_s:g} s"
            raise _error(spec, DaggerFailedError({"message": message, "log": child.last_lines()})) from None
        except DaggerFailedError as error:
            raise _error(spec, error) from None
        finally:
            with self._guard:
                self._under_way.discard(child)

    def abort(self) -> None:
        with self._guard:
            self._aborted = True
            for child in self._under_way:
                child.abort()

    def _take(self, spec: BuildSpec, archive: Path) -> BuiltImage:
        """Load the archive and name the image; after an error there is no name."""
        image_id = self._engine.load(archive)
        for name in (spec.tag, *map(str, spec.build.get("tags") or ())):
            self._engine.tag(image_id, with_tag(name))
        return BuiltImage(tag=spec.tag, image_id=image_id, repo_digest=self._engine.repo_digest(spec.tag))


def with_tag(name: str) -> str:
    """The name, with `:latest` if it has no tag. A colon before the last slash belongs to the registry."""
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def request_of(spec: BuildSpec) -> dict[str, Any]:
    """The request for a build. Raises DefinitionError for files that cannot be read."""
    shown = {str(key): str(value) for key, value in (spec.build.get("labels") or {}).items()}
    if spec.recipe:
        recipe = spec.recipe.model_dump(mode="json")
        recipe["names"] = [re.sub(r"([*?\[\]\\])", r"\\\1", name.rstrip("/")) for name in spec.recipe.names]
        recipe["base"] = building.arguments(spec.build).get(spec.recipe.base_argument, spec.recipe.base)
        exclude = ignored(Path(str(spec.build["context"])), "")
        return {"context": str(spec.build["context"]), "exclude": exclude, "recipe": recipe, "labels": shown}
    context = Path(str(spec.build["context"]))
    dockerfile = Path(str(spec.build.get("dockerfile") or "Dockerfile"))
    whole = Path(os.path.normpath(context / dockerfile))
    patterns = ignored(context, str(whole.relative_to(context)) if whole.is_relative_to(context) else str(whole))
    files: dict[str, str] = {}
    inline = spec.build.get("dockerfile_inline")
    if inline is None and whole.is_relative_to(context):
        name = str(whole.relative_to(context))
    else:  # outside the context: passed separately, and not visible to the build itself
        name = _OWN_DOCKERFILE
        hidden = [*patterns, name, f"{name}.dockerignore"]
        text = _read(whole, spec) if inline is None else str(inline)
        files = {name: text, f"{name}.dockerignore": "\n".join(hidden) + "\n"}
    needed = [f"!{one}" for one in (name, ".dockerignore", f"{name}.dockerignore")] if patterns else []
    platforms = [*map(str, spec.build.get("platforms") or ())]
    return {
        "context": str(context),
        "exclude": [*patterns, *needed],
        "files": files,
        "dockerfile": name,
        "args": building.arguments(spec.build),
        "target": str(spec.build.get("target") or ""),
        "secrets": {one.id: _read(Path(one.text), spec) if one.kind == "file" else one.text for one in spec.secrets},
        "platform": platforms[0] if platforms else None,
        "ssh_agent": _ssh_agent(spec) if spec.build.get("ssh") else None,
        "labels": shown,
    }


def _ssh_agent(spec: BuildSpec) -> str:
    agent = os.environ.get("SSH_AUTH_SOCK")
    if not agent:
        where = f"services.{spec.service}.build.ssh"
        message = f"{where}: SSH_AUTH_SOCK is not set"
        raise DefinitionError(message, service=spec.service, key=where, hint="Start `ssh-agent` first.")
    return agent


def _read(file: Path, spec: BuildSpec) -> str:
    try:
        return bounded.text_of(file, bounded.SETTINGS_BYTES, errors="strict")
    except (OSError, UnicodeDecodeError) as error:
        message = f"services.{spec.service}.build: {file}: {getattr(error, 'strerror', None) or 'not UTF-8 text'}"
        raise DefinitionError(message, service=spec.service, file=str(file)) from None


def _error(spec: BuildSpec, error: DaggerFailedError) -> ImageError:
    """The error for a failed build, with its output; says whether a retry could help."""
    kind = TransientImageError if error.kind in _PASSING else ImageError
    message = str(error).strip()
    words = message.splitlines()[0] if message else "no reason given"
    return kind(
        f"services.{spec.service}: build failed: {words[:500]}",
        service=spec.service,
        reason="build failed",
        log="\n".join([*message.splitlines()[1:], *error.log.splitlines()][-80:]),
        hint="The lines above are its output.",
    )
