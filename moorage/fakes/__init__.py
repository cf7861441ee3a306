"""A machine that is not there: a Docker engine and Compose in memory; `moorage.testing` has their names.

programs      what a container's command does, as far as tests need it
machine       containers, networks, volumes, images: what is there, and what the daemon allows
engine        `interfaces.Engine` on it
composefile   compose files written as JSON, in canonical form
compose       `interfaces.Compose` on it
faults        the n-th effect fails, or the process dies there
world         probes, locks and build contexts that fit
"""
