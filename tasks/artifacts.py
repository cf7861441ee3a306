"""What a run leaves to look at in the UI."""

from __future__ import annotations

from prefect.artifacts import acreate_table_artifact

from moorage.model.state import StackStatus


async def publish(status: StackStatus) -> None:
    """The table of services, with their addresses as links."""
    rows = [
        {
            "service": name,
            "state": service.state,
            "address": ", ".join(
                f"[{p.host_ip}:{p.published}](http://{p.host_ip}:{p.published})" for p in service.ports
            ),
            "time to ready (s)": service.time_to_ready_s,
            "image": (service.image_id or "")[:19],
        }
        for name, service in status.services.items()
    ]
    key = f"moorage-{status.stack.replace('_', '-')}"
    await acreate_table_artifact(
        table=rows, key=key, description=f"Stack {status.stack}, generation {status.generation}"
    )
