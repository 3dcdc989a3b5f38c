#!/bin/sh
# Runs the benchmarks: scripts/bench.sh [--only NAME]... [--quick] [--json FILE]
set -eu
cd "$(dirname "$0")/.."
exec .venv/bin/python bench/suite.py "$@"
