"""The engines of the matrix, and the verbs that each of them is asked for: a verb is a few tests of the engine suite."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """One engine. `name` is that of its root (`scripts/engine-root`)."""

    name: str
    title: str
    options: tuple[str, ...] = ()
    """More for its command line."""
    refused: dict[str, str] = field(default_factory=dict)
    """What does not work on it: verb → regular expression of the sentence that refuses it."""

    instead: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Verb → its tests on this engine, where others ask for more than it promises."""

    def tests(self, verb: str) -> tuple[str, ...]:
        """The tests of a verb on this engine."""
        return self.instead.get(verb, VERBS[verb])

    @property
    def is_rootless(self) -> bool:
        """Run by a user of its root that is not root, in a network of his own."""
        return self.name.endswith("-rootless")

    @property
    def is_podman(self) -> bool:
        """Podman speaks Docker's API beside its own."""
        return self.name.startswith("podman")


_LOGS = (
    "test_logs.py::test_follow_loses_and_repeats_no_line_across_restarts",
    "test_logs.py::test_merged_in_time_order_and_cut_as_asked",
)
ROWS = (
    Row("docker-20.10", "Docker 20.10, Debian 12"),
    Row("docker-26.1", "Docker 26.1, Debian 13"),
    Row(
        "docker-26.1-rootless",
        "Docker 26.1, Debian 13, rootless",
        refused={
            "stats": "has no control groups",
            "ready when a port that is not published answers": "cannot be reached",
        },
        instead={
            # Not those kinds of checks that ask a port which is not published.
            "health": (
                "test_health.py::test_the_command",
                "test_readiness.py::test_a_check_whose_arguments_have_blanks",
            ),
            "memory before a start": (
                "test_memory.py::test_it_refuses_before_anything_is_touched",
            ),  # it measures nobody
        },
    ),
    Row("docker-28", "Docker 28, Debian sid"),
    Row("docker-29", "Docker 29, Ubuntu 24.04, containerd's image store", ("--feature=containerd-snapshotter=true",)),
    Row(
        "podman-5",
        "Podman 5, Debian 13",
        refused={
            "volumes snapshot, restore": "gives out files without their owners",
        },
        instead={
            "logs": (_LOGS[0],),  # its times are whole seconds: what is asked for by a time begins with its second
            "volumes snapshot, restore": ("test_volumes.py::test_files_come_back_as_they_were",),
        },
    ),
)
NEWEST_BUILDX = "docker-29"
"""Whose buildx is used for BuildKit in every row: some have one that Compose does not use, or none."""

VERBS = {
    "doctor": ("test_doctor.py",),
    "up": ("test_inside.py::test_several_networks", "test_command.py::test_up_says_all_there_is_to_know"),
    "up, nothing to do": ("test_command.py::test_up_again_does_nothing",),
    "up --build, nothing changed": ("test_build.py::test_an_unchanged_build_changes_nothing",),
    "exec": ("test_exec.py",),
    "logs": _LOGS,
    "stats": ("test_stats.py",),
    "health": (
        "test_health.py::test_the_command",
        "test_readiness.py::test_every_kind_of_check",
        "test_readiness.py::test_a_check_whose_arguments_have_blanks",
    ),
    "ready when a port that is not published answers": ("test_readiness.py::test_a_port_that_is_not_published",),
    "restart": ("test_living.py::test_restart_of_one_takes_along_who_asks_for_it",),
    "stop, start": ("test_command.py::test_stop_and_start_keep_the_containers",),
    "ports": (
        "test_ports.py::test_a_port_that_another_process_listens_on_is_passed_over",
        "test_ports.py::test_a_port_taken_between_lease_and_start_is_leased_anew",
        "test_ports.py::test_a_container_of_others_on_the_port",
    ),
    "failing change, undo": (
        "test_failure.py::test_a_change_that_fails_leaves_what_ran",
        "test_builder.py::test_a_failed_build_leaves_no_container",
        "test_undo.py",
    ),
    "kill -9, sweep": (
        "test_ci.py::test_after_kill_9_the_next_call_cleans_up",
        "test_sweep.py::test_image_tags_that_no_generation_uses",
    ),
    "sweep --disk": ("test_disk.py::test_longest_unused_first_and_never_what_is_needed",),
    "a kept address": (
        "test_kept_addresses.py::test_it_is_the_same_however_often_it_is_made_again",
        "test_kept_addresses.py::test_it_is_said_and_taken_back_in_a_plan_that_makes_it_again",
        "test_kept_addresses.py::test_somebody_else_has_it_meanwhile",
    ),
    "memory before a start": ("test_memory.py::test_it_warns_and_names_the_idlest_stack_and_starts",),
    "build by the engine": ("test_definition.py::test_an_inline_dockerfile_is_built_with_or_without_buildkit",),
    "build with RUN --mount": (
        "test_definition.py::test_an_inline_dockerfile_is_built_with_or_without_buildkit",
        "test_build.py::test_what_only_buildkit_can_do",
    ),
    "rollback": ("test_generations.py::test_old_ones_are_pruned_with_their_image_tags",),
    "volumes snapshot, restore": (
        "test_volumes.py::test_files_come_back_as_they_were",
        "test_volumes.py::test_postgres_and_redis_into_the_same_and_another_stack",
        "test_volumes.py::test_the_command",
    ),
    "ci": ("test_ci.py::test_command_finds_its_stack", "test_ci.py::test_exit_code_and_artifacts_of_a_failing_command"),
    "down": (
        "test_command.py::test_down_keeps_volumes_and_leases_until_told",
        "test_inside.py::test_down_with_volumes_takes_the_anonymous_ones_too",
    ),
}
ENVIRONMENT = {"build by the engine": {"DOCKER_BUILDKIT": "0"}, "build with RUN --mount": {"DOCKER_BUILDKIT": "1"}}
"""Of the tests of a verb; the others have what the row has: its own buildx, if there is one."""

SHORT = {
    "up": ("test_inside.py::test_several_networks",),
    "up, nothing to do": ("test_plan.py::test_a_comment_or_another_order_changes_nothing",),
    "exec": VERBS["exec"],
    "logs": ("test_logs.py::test_merged_in_time_order_and_cut_as_asked",),
    "failing change, undo, built again": (
        "test_failure.py::test_a_change_that_fails_leaves_what_ran",
        "test_generations.py::test_what_fails_leaves_no_generation",
    ),
    "volumes snapshot, restore": ("test_volumes.py::test_files_come_back_as_they_were",),
    "down": ("test_inside.py::test_volumes_outlive_changes_and_down",),
}
"""What `make test` asks one more engine for: nothing that needs a hub, which takes longer than all of this."""


def row(name: str) -> Row:
    """The row of that name. Raises KeyError."""
    return {one.name: one for one in ROWS}[name]
