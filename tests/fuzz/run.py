"""Fuzzes one target, guided by coverage: `python -m tests.fuzz.run TARGET RUNS SEED FOLDER [libFuzzer's options]`.

FOLDER gets what was found: new inputs of the corpus, and the input that broke something.

"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["moorage"]):
    from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
LONGEST = 8192


def main(target: str, runs: str, seed: str, folder: str, *more: str) -> None:
    grown, broken = Path(folder) / "corpus", Path(folder) / "broken"
    grown.mkdir(parents=True, exist_ok=True)
    broken.mkdir(exist_ok=True)
    for file in (CORPUS / target).iterdir():
        shutil.copy(file, grown / file.name)
    limits = [f"-max_len={LONGEST}", "-rss_limit_mb=900", "-timeout=60", "-print_final_stats=1", "-verbosity=1"]
    options = [f"-runs={runs}", f"-seed={seed}", f"-artifact_prefix={broken}/", *limits, *more]
    atheris.Setup([sys.argv[0], *options, str(grown)], TARGETS[target])
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
