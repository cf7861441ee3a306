"""Health and drift as text."""

from __future__ import annotations

from collections.abc import Iterator

from moorage.model.health import CheckResult, HealState, Health, Treatment
from moorage.show.formatting import clean, count, one_line, seconds, table


def health_text(found: Health) -> str:
    """A summary line, a line for each check, the drift found, and what is being done about it."""
    blocks = ["  ".join(filter(None, (found.stack, _verdict(found), _generation(found))))]
    if found.checks:
        rows = [_row(check) for check in found.checks]
        blocks.append(table(("SERVICE", "READY", "CHECK", "TOOK", ""), rows))
    if found.drift:
        rows = [(clean(one.service), str(one.kind), one_line(one.what)) for one in found.drift]
        blocks.append(table(("DRIFT", "KIND", "WHAT"), rows))
    if lines := [*_treated(found)]:
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _verdict(found: Health) -> str:
    if found.resting:
        return "stopped on purpose: nothing to check"
    if found.well:
        return "well"
    failed = {check.service for check in found.checks if not check.ready}
    drifted = {one.service for one in found.drift}
    return f"not well: {count(len(failed | drifted), 'service')}" if failed | drifted else "absent"


def _generation(found: Health) -> str:
    return f"generation {found.generation}" if found.generation else "no generation yet"


def _row(check: CheckResult) -> tuple[str, ...]:
    name = check.container or check.service
    took = seconds(check.elapsed_s) if check.check and check.state == "running" else "-"
    return clean(name), "yes" if check.ready else "NO", check.check or "-", took, one_line(check.message)


def _treated(found: Health) -> Iterator[str]:
    if found.healed:
        yield f"repaired: {', '.join(found.healed)}"
    yield from (_treatment(one) for one in found.treatments if one.state != HealState.NOW)
    if found.drift and not found.treatments:
        yield "`moorage health --heal` repairs it"


def _treatment(one: Treatment) -> str:
    tries = f"{one.service}: tried {count(one.attempts, 'time')}"
    if one.state == HealState.LATER and one.not_before:
        return f"{tries}, next automatic attempt after {one.not_before:%H:%M:%S} UTC"
    return f"{tries}, given up: `moorage logs {one.service}` may say why, `moorage restart` tries again"
