#!/bin/sh
# Installs Moorage into /opt/moorage, for all users of the container. Run as root while the container's image is built.
set -eu

VERSION=${VERSION:-latest}
PACKAGE=${PACKAGE:-}
COMPLETION=${COMPLETION:-true}
USER_NAME=${_REMOTE_USER:-root}
PLACE=/opt/moorage
NEED='Moorage needs Python 3.11 or later'

fail() { # fail WHAT NEXT
  printf 'moorage: error: %s\n  next: %s\n' "$1" "$2" >&2
  exit 1
}

usable() { # usable PYTHON: new enough, and able to make an environment
  "$1" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() { # prints the first usable Python; that of the feature `python` is not on root's PATH
  for name in /usr/local/python/current/bin/python3 python3 python3.14 python3.13 python3.12 python3.11; do
    if usable "$name"; then
      command -v "$name"
      return
    fi
  done
}

case $VERSION in
  *[!0-9A-Za-z.+!]*) fail "version '$VERSION' is none" 'give one such as 0.1.0, or latest' ;;
esac
[ "$(id -u)" = 0 ] || fail 'this has to be run as root' 'Dev Containers do so while they build the image'

python=$(find_python)
if [ -z "$python" ] && command -v apt-get >/dev/null; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3 python3-venv
  rm -rf /var/lib/apt/lists/*
  python=$(find_python)
fi
[ -n "$python" ] || fail "$NEED, with venv" 'add the feature ghcr.io/devcontainers/features/python'

umask 022
"$python" -m venv "$PLACE"
if [ -n "$PACKAGE" ]; then
  wanted=$PACKAGE
elif [ "$VERSION" = latest ]; then
  wanted=moorage
else
  wanted=moorage==$VERSION
fi
"$PLACE/bin/python" -m pip install --quiet --disable-pip-version-check --no-cache-dir -- "$wanted" ||
  fail "pip could not install $wanted" 'its lines above say why'
ln -sf "$PLACE/bin/moorage" /usr/local/bin/moorage

if [ "$COMPLETION" = true ]; then
  for shell in bash zsh fish; do
    if command -v "$shell" >/dev/null; then
      su "$USER_NAME" -s /bin/sh -c "/usr/local/bin/moorage --install-completion --shell $shell" >/dev/null
    fi
  done
fi
/usr/local/bin/moorage --version
