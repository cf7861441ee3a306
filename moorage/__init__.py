"""Moorage: container stacks that come up the way a database commits.

Reading order: `model` (what things are), `rules` (what to do), `work` (doing it), `world` (what it is done with),
then `flows/up.py`, which reads like the sentence you would say.
"""

__version__ = "0.1.0"
