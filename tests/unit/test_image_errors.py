"""Failed builds and pulls: what may pass is tried again, what does not is not."""

from __future__ import annotations

import pytest

from moorage.adapters.compose.errors import image_error

PASSES = [
    (
        "build",
        'Error response from daemon: Get "http://127.0.0.1:5999/v2/": dial tcp 127.0.0.1:5999: connect: connection refused',
    ),
    ("build", 'failed to solve: a:1: failed to do request: Head "https://r.example/v2/a/manifests/1": EOF'),
    ("build", "failed to solve: a:1: failed to resolve source metadata for r.example/a:1: 503 Service Unavailable"),
    ("build", "failed to solve: failed to fetch anonymous token: unexpected status: 502 Bad Gateway"),
    ("build", "toomanyrequests: You have reached your pull rate limit: 429 Too Many Requests"),
    ("build", "error pulling image configuration: download failed after attempts=6: net/http: TLS handshake timeout"),
    (
        "build",
        'Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io: Temporary failure in name resolution',
    ),
    ("pull", "dial tcp 127.0.0.1:1: connect: connection refused"),
    ("pull", "net/http: TLS handshake timeout"),
]
LASTS = [
    ("build", "The command '/bin/sh -c curl http://x' returned a non-zero code: 7"),
    ("build", 'failed to solve: process "/bin/sh -c pip install x" did not complete successfully: exit code: 1'),
    ("build", "COPY failed: file not found in build context or excluded by .dockerignore: stat x: file does not exist"),
    ("build", "Error response from daemon: manifest for x:1 not found: manifest unknown: manifest unknown"),
    ("build", "pull access denied for x, repository does not exist or may require 'docker login'"),
    ("build", "dockerfile parse error line 3: unknown instruction: RUNN"),
    ("pull", "manifest unknown"),
    ("pull", "unauthorized: authentication required"),
]


@pytest.mark.parametrize(("what", "said"), PASSES)
def test_a_registry_that_is_out_of_order_is_asked_again(what, said):
    assert image_error(what, "web", ["Step 1/2 : FROM a", said]).retryable


@pytest.mark.parametrize(("what", "said"), LASTS)
def test_what_would_fail_again_is_not_tried_again(what, said):
    assert not image_error(what, "web", ["connection refused", "EOF", said] if what == "build" else [said]).retryable
