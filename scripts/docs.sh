#!/bin/sh
# Brings up to date what the documentation has from the program, and builds the site into
# build/site, or the folder given.
set -eu
cd "$(dirname "$0")/.."

.venv/bin/python scripts/reference
exec .venv/bin/python -m mkdocs build --strict --quiet --site-dir "${1:-$PWD/build/site}"
