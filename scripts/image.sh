#!/bin/sh
# Builds the container image retis-py where an engine runs; elsewhere only checks the Containerfile.
# Options go to the engine's build.
set -eu
cd "$(dirname "$0")/.."

for engine in podman docker buildah; do
    if command -v "$engine" >/dev/null && "$engine" info >/dev/null 2>&1; then
        exec "$engine" build -f Containerfile -t retis-py "$@" .
    fi
done
echo "image: no podman, docker or buildah runs here, so the Containerfile is checked only" >&2
exec .venv/bin/hadolint Containerfile
