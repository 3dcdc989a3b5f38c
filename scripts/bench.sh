#!/bin/sh
# Runs every benchmark, or those named: scripts/bench.sh startup
set -eu
cd "$(dirname "$0")/.."

if [ $# -eq 0 ]; then
    # The others are modules that these use. Word splitting is wanted.
    # shellcheck disable=SC2046
    set -- $(grep -l '^if __name__ == "__main__"' bench/*.py)
fi
status=0 # of the first that breaks a limit; the others run all the same
for name in "$@"; do
    name=$(basename "$name" .py)
    echo "== $name"
    .venv/bin/python "bench/$name.py" || status=$?
done
exit $status
