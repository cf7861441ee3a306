"""What goes on inside containers: one suite for the real engine and for the one in memory."""

from __future__ import annotations

import pytest

from moorage.adapters.engine.streams import DockerStreams
from moorage.model.log import LogSpan
from moorage.testing import FakeEngine, FakeStreams
from tests.contract.test_engine import bench

__all__ = ["bench"]


@pytest.fixture
def streams(bench):
    if isinstance(bench.engine, FakeEngine):
        return FakeStreams(bench.engine.machine)
    return DockerStreams(bench.engine)


def read(streams, container, span=None, **how):
    opened = []
    records = list(streams.log(container, span or LogSpan(), on_open=opened.append, **how))
    return records, opened


class TestLog:
    def test_its_entries_in_their_order(self, bench, streams):
        container = bench.ended("echo one; echo two; echo three; exit 3")
        records, opened = read(streams, container.id)
        assert [record.data for record in records] == [b"one\n", b"two\n", b"three\n"]
        assert {record.stream for record in records} == {"stdout"}
        times = [record.at_ns for record in records]
        assert times == sorted(times)
        assert abs(times[0] / 1e9 - container.started_at.timestamp()) < 60
        assert len(opened) == 1

    def test_a_part_of_it(self, bench, streams):
        container = bench.ended("echo one; echo two; echo three; exit 3")
        (one, two, three), _ = read(streams, container.id)
        assert read(streams, container.id, LogSpan(tail=1))[0] == [three]
        assert read(streams, container.id, LogSpan(tail=0))[0] == []
        assert read(streams, container.id, LogSpan(tail=9))[0] == [one, two, three]
        assert read(streams, container.id, LogSpan(since_ns=three.at_ns))[0][-1] == three
        assert one not in read(streams, container.id, LogSpan(since_ns=one.at_ns + 1))[0]
        assert read(streams, container.id, LogSpan(until_ns=one.at_ns - 1))[0] == []

    def test_following_what_has_ended_ends(self, bench, streams):
        container = bench.ended("echo one; exit 3")
        records, _ = read(streams, container.id, follow=True)
        assert [record.data for record in records] == [b"one\n"]

    def test_it_survives_a_restart(self, bench, streams):
        container = bench.ended("echo one; exit 3")
        bench.engine.start(container.id)
        while bench.of("web").state == "running":
            pass
        assert [record.data for record in read(streams, container.id)[0]] == [b"one\n", b"one\n"]

    def test_of_what_is_gone_or_was_never_started(self, bench, streams):
        bench.create({"web": bench.service()})
        assert read(streams, bench.of("web").id)[0] == []
        assert read(streams, f"{bench.stack}-nothing")[0] == []


class TestSample:
    def test_of_what_runs(self, bench, streams):
        found = streams.sample(bench.started().id)
        assert found.cpu_ns > 0
        assert found.memory_bytes > 0
        assert found.memory_limit_bytes > found.memory_bytes
        assert found.at.tzinfo is not None

    def test_of_what_has_ended_was_never_started_or_is_gone(self, bench, streams):
        assert streams.sample(bench.ended("exit 0").id) is None
        bench.create({"other": bench.service()}, stack=f"{bench.stack}-b")
        (created,) = bench.engine.containers(f"{bench.stack}-b", "other")
        assert streams.sample(created.id) is None
        assert streams.sample(f"{bench.stack}-nothing") is None
