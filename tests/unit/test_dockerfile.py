"""Dockerfiles: which images a build starts from."""

from __future__ import annotations

import pytest

from moorage.rules.dockerfile import bases

FORMS = {
    "plain": ("FROM a:1", {}, {}, ["a:1"]),
    "lower case": ("from a:1 as b\nfrom b", {}, {}, ["a:1"]),
    "tabs and blanks": ("  FROM\ta:1\t", {}, {}, ["a:1"]),
    "byte order mark": ("\ufeffFROM a", {}, {}, ["a"]),
    "digest": ("FROM a@sha256:0123", {}, {}, ["a@sha256:0123"]),
    "registry with a port": ("FROM r:5000/a", {}, {}, ["r:5000/a"]),
    "platform": ("FROM --platform=linux/arm64 a AS b", {}, {}, ["a"]),
    "several stages": ("FROM a AS one\nFROM c\nCOPY --from=one x y", {}, {}, ["a", "c"]),
    "stage by number": ("FROM a\nFROM c\nCOPY --from=0 x y", {}, {}, ["a", "c"]),
    "stage from a stage": ("FROM a AS One\nFROM one AS two\nFROM TWO", {}, {}, ["a"]),
    "copy from an image": ("FROM a\nCOPY --chown=1:1 --from=b:2 x y", {}, {}, ["a", "b:2"]),
    "mount from an image": ("FROM a\nRUN --mount=type=bind,from=b,target=/b ls --from=c", {}, {}, ["a", "b"]),
    "no option of copy": ("FROM a\nCOPY x --from=b", {}, {}, ["a"]),
    "scratch": ("FROM scratch\nCOPY x y", {}, {}, []),
    "argument's default": ("ARG V=1\nFROM a:$V", {}, {}, ["a:1"]),
    "argument given": ("ARG V=1\nFROM a:${V}", {"V": "2"}, {}, ["a:2"]),
    "argument in quotes": ('ARG I="a:1"\nFROM $I', {}, {}, ["a:1"]),
    "two arguments in a line": ("ARG A=x B=1\nFROM $A:$B", {}, {}, ["x:1"]),
    "argument from an argument": ("ARG V=1\nARG I=a:$V\nFROM $I", {"V": "3"}, {}, ["a:3"]),
    "default in the name": ("ARG V\nFROM a:${V:-9}", {}, {}, ["a:9"]),
    "alternative in the name": ("ARG V=1\nFROM a${V:+-slim}", {}, {}, ["a-slim"]),
    "argument of a stage does not count": ("FROM a\nARG V=1\nFROM b:$V", {}, {}, ["a"]),
    "what only the builder knows": ("FROM a-$TARGETARCH\nFROM b", {}, {}, ["b"]),
    "continued": ("FROM \\\n# why\n\n  a:1 \\\n AS b", {}, {}, ["a:1"]),
    "escape is a backtick": ("# escape=`\nFROM `\n a", {}, {}, ["a"]),
    "syntax first": ("# syntax=docker/dockerfile:1\nFROM a", {}, {}, ["a"]),
    "comment": ("# FROM b\nFROM a", {}, {}, ["a"]),
    "here-document": ("FROM a\nRUN <<EOF\nFROM b\nEOF\nCOPY --from=c x y", {}, {}, ["a", "c"]),
    "here-document in quotes": ("FROM a\nRUN cat <<-'E' > /x\nFROM b\n\tE\nFROM c", {}, {}, ["a", "c"]),
    "here-string is none": ("FROM a\nRUN cat <<< x\nFROM b", {}, {}, ["a", "b"]),
    "context of a service": ("FROM base", {}, {"base": "service:web"}, ["service:web"]),
    "context is an image": ("FROM base\nCOPY --from=x a b", {}, {"x": "docker-image://b:2"}, ["b:2", "base"]),
    "context is a folder": ("FROM a\nCOPY --from=more x y", {}, {"more": "/p/more"}, ["a"]),
    "context is not used": ("FROM a", {}, {"x": "service:web"}, ["a", "service:web"]),
    "cut off": ("FROM \\", {}, {}, []),
    "nothing": ("", {}, {}, []),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_images_that_a_build_starts_from(form):
    text, arguments, contexts, found = FORMS[form]
    assert list(bases(text, arguments, contexts)) == found
