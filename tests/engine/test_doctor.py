"""`moorage doctor` on an engine."""

from __future__ import annotations


def test_it_says_what_there_is(project, docker_client):
    project.compose("services: {}")
    found = {one["check"]: one for one in project.moorage("doctor", "--json").json}
    assert all(one["ok"] for one in found.values())
    said = docker_client.version()
    product = "Podman Engine" if "Podman" in said["Components"][0]["Name"] else "Docker Engine"
    assert found["engine"]["message"].startswith(f"{product} {said['Version']} at ")
    assert found["compose"]["message"].startswith("Compose ")
    assert any(word in found["builder"]["message"] for word in ("buildx ", "the engine's own builder"))
