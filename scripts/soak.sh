#!/bin/sh
# Collects under a load that comes and goes for SOAK_SECONDS (default 1800): nothing may grow, and
# every loss must be counted. Arguments go to tests/soak/session.py: --folder DIR.
set -eu
cd "$(dirname "$0")/.."

if [ "$(id -u)" -ne 0 ]; then
    exec sudo --preserve-env=SOAK_SECONDS "$0" "$@"
fi
exec .venv/bin/python tests/soak/session.py --seconds "${SOAK_SECONDS:-1800}" "$@"
