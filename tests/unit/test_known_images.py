"""What an image's name makes us guess, and what makes the guess void or another one."""

from __future__ import annotations

import pytest

from moorage.rules import known_images

ENTRY = "docker-entrypoint.sh"


@pytest.mark.parametrize(
    ("image", "program", "asks"),
    [
        ("postgres:16", [], "pg_isready -q -h 127.0.0.1 -U"),
        ("postgres:16", [ENTRY, "postgres"], "pg_isready -q -h 127.0.0.1 -U"),
        ("postgres:16", [ENTRY, "postgres", "-c", "max_connections=9"], "pg_isready -q -h 127.0.0.1 -U"),
        ("postgres:16", [ENTRY, "postgres", "-p", "5433"], "-p 5433 "),
        ("postgres:16", [ENTRY, "postgres", "-p5433"], "-p 5433 "),
        ("postgres:16", [ENTRY, "-c", "port=5433"], "-p 5433 "),
        ("postgres:16", [ENTRY, "postgres", "--port=5433"], "-p 5433 "),
        ("postgis/postgis", ["/usr/local/bin/docker-entrypoint.sh", "postgres", "-cport=5433"], "-p 5433 "),
        ("postgres:16", [ENTRY, "postgres", "-c", "listen_addresses=*"], "pg_isready"),
        ("postgres:16", ["/usr/lib/postgresql/16/bin/postgres"], "pg_isready"),
        ("redis:7", [ENTRY, "redis-server"], "redis-cli ping"),
        ("redis:7", ["redis-server", "--port", "6380"], "redis-cli -p 6380 ping"),
        ("redis:7", [ENTRY, "--port", "6380", "--save", "60", "1"], "redis-cli -p 6380 ping"),
        ("valkey/valkey", [ENTRY, "valkey-server", "--bind", "0.0.0.0", "-::*"], "redis-cli ping"),
        ("mysql:8", [ENTRY, "mysqld", "--port=3307"], "-P 3307 "),
        ("mariadb", [ENTRY, "mariadbd", "-P", "3307"], "-P 3307 "),
        ("mariadb", [ENTRY, "--character-set-server=utf8mb4"], "-h 127.0.0.1 --silent"),
    ],
)
def test_the_server_is_asked_at_its_own_port(image: str, program: list[str], asks: str) -> None:
    found = known_images.guess(image, program)
    assert found is not None
    assert asks in found.command[-1]


@pytest.mark.parametrize(
    ("image", "program"),
    [
        ("nginx", ["nginx"]),
        ("postgres:16", ["sleep", "infinity"]),
        ("postgres:16", [ENTRY, "pg_dump", "-h", "db"]),
        ("postgres:16", ["sh", "-c", "exec postgres -p 5433"]),
        ("postgres:16", [ENTRY, "postgres", "-c", "config_file=/etc/postgres.conf"]),
        ("postgres:16", [ENTRY, "postgres", "-c", "listen_addresses="]),
        ("postgres:16", [ENTRY, "postgres", "-h", "10.0.0.9"]),
        ("redis:7", [ENTRY, "redis-server", "/usr/local/etc/redis/redis.conf"]),
        ("redis:7", [ENTRY, "/usr/local/etc/redis/redis.conf"]),
        ("redis:7", [ENTRY, "redis-server", "--port", "0", "--tls-port", "6379"]),
        ("redis:7", [ENTRY, "redis-cli", "-h", "cache", "flushall"]),
        ("redis:7", [ENTRY, "redis-server", "--bind", "10.0.0.9"]),
        ("redis:7", ["redis-sentinel", "/etc/sentinel.conf"]),
        ("redis:7", [ENTRY, "redis-server", "--port", "${PORT}"]),
        ("mysql:8", [ENTRY, "mysqld", "--skip-networking"]),
        ("mysql:8", [ENTRY, "mysqld", "--bind_address=10.0.0.9"]),
        ("mysql:8", [ENTRY, "mysqld", "--defaults-file=/etc/my.cnf"]),
        ("mysql:8", ["mysqldump", "--all-databases"]),
    ],
)
def test_what_runs_counts_more_than_the_name(image: str, program: list[str]) -> None:
    assert known_images.guess(image, program) is None
