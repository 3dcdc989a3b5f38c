#!/bin/sh
# Style, format, types, and the Containerfile.
set -eu
cd "$(dirname "$0")/.."

.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
if [ -x .venv/bin/hadolint ]; then # there is none for all architectures
    .venv/bin/hadolint Containerfile
fi
