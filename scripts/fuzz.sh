#!/bin/sh
# Gives every reader of untrusted bytes what it was not made for: FUZZ_SECONDS (default 600) in all.
# Arguments go to tests/fuzz/session.py: --only TARGET, --folder DIR.
set -eu
cd "$(dirname "$0")/.."
exec .venv/bin/python tests/fuzz/session.py --seconds "${FUZZ_SECONDS:-600}" "$@"
