"""Entry point `prefect.collections`, through which Prefect loads our Blocks.

Another project may have a package named `blocks`. Then ours are loaded under a different name.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from pathlib import Path
from types import ModuleType

from moorage.errors import MoorageError
from moorage.hub.project import project_directory

_BESIDE = "moorage_blocks"


def block_modules() -> list[ModuleType]:
    """Import the modules of the project's `blocks`. Raises MoorageError: the project's folders are missing."""
    directory = project_directory() / "blocks"
    package = "blocks" if _is_ours(directory) else _beside(directory)
    return [importlib.import_module(f"{package}.{one.name}") for one in pkgutil.iter_modules([str(directory)])]


def _is_ours(directory: Path) -> bool:
    """True if `import blocks` finds our package."""
    try:
        found = importlib.util.find_spec("blocks")
    except (ImportError, ValueError):
        return False
    places = list(found.submodule_search_locations or ()) if found else []
    return bool(places) and Path(places[0]).resolve() == directory.resolve()


def _beside(directory: Path) -> str:
    if _BESIDE not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            _BESIDE, directory / "__init__.py", submodule_search_locations=[str(directory)]
        )
        assert spec is not None  # noqa: S101 - there is a file
        assert spec.loader is not None  # noqa: S101
        module = importlib.util.module_from_spec(spec)
        sys.modules[_BESIDE] = module
        spec.loader.exec_module(module)
    return _BESIDE


if __name__ != "__main__":
    try:
        block_modules()
    except MoorageError:  # without its folders there are no Blocks to offer; the `moorage` command reports that
        sys.modules.pop(_BESIDE, None)
