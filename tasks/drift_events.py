"""Reports a stack that has drifted: in the log, and as events for automations."""

from __future__ import annotations

import logging

from moorage.model.health import HealState, Health
from tasks.run_artifacts import announce

_LOGGER = logging.getLogger("moorage.run")


def tell(found: Health) -> str:
    """Report drift and repairs; returns them as text. Empty: there is nothing to report."""
    drift = [f"{one.service}: {one.kind}: {one.what}" for one in found.drift]
    failed = [f"{check.service}: {check.message}" for check in found.checks if not check.ready]
    if found.healed:
        announce("recovered", found.stack, found.healed, operation="heal")
        _LOGGER.info("%s: repaired %s", found.stack, ", ".join(found.healed))
    if drift:
        given_up = [one.service for one in found.treatments if one.state == HealState.GIVEN_UP]
        services = sorted({one.service for one in found.drift})
        announce("drifted", found.stack, services, drift=drift, given_up=given_up, generation=found.generation)
        for line in drift:
            _LOGGER.warning("%s: %s", found.stack, line)
        for name in given_up:
            _LOGGER.error("%s: giving up on %s: no more attempts until somebody starts it", found.stack, name)
    return "; ".join(drift or failed)
