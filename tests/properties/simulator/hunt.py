"""A hunt in a process of its own: `python -m tests.properties.simulator.hunt FIRST NUMBER [MUTATION]`.

Plays histories until one is wrong, and prints as JSON how many there were, what was wrong (null: nothing), and the
history, shrunk.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from tests.properties.simulator.mutations import MUTATIONS, Plant


def main(first: str, number: str, name: str = "") -> None:
    if name:
        Plant(next(one for one in MUTATIONS if one.name == name))
    from tests.properties.simulator.history import kind_of, made, play, shrunk

    began_s = time.process_time()
    effects, tried, seed = 0, 0, 0
    wrong: str | None = None
    for seed in range(int(first), int(first) + int(number)):
        played = play(made(seed))
        effects, wrong, tried = effects + played.effects, played.wrong, tried + 1
        if wrong:
            break
    answer: dict[str, Any] = {
        "tried": tried,
        "effects": effects,
        "wrong": wrong,
        "cpu_s": round(time.process_time() - began_s, 1),
    }
    if wrong:
        small = shrunk(made(seed), lambda one: kind_of(play(one).wrong) == kind_of(wrong), 60)
        answer |= {"mutation": name, "history": json.loads(small.text())}
    print(json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
