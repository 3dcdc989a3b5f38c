#!/bin/sh
# Sets all up, then everything: style, types, unit tests, functional tests on this kernel and in
# the lab's. Arguments go to pytest.
set -eu
cd "$(dirname "$0")/.."

# root's home may be another's.
export RETIS_VM_CACHE="${RETIS_VM_CACHE:-$HOME/.cache/retis-py/kernels}"
export RETIS_OVS_CACHE="${RETIS_OVS_CACHE:-$HOME/.cache/retis-py/openvswitch}"

scripts/setup.sh --lab
.venv/bin/python tests/vm/kernels.py 6.1 6.12 >/dev/null
.venv/bin/python tests/vm/openvswitch.py >/dev/null
scripts/lint.sh

# What must not be skipped on this machine. Without root, half of the tests would say nothing.
export RETIS_NO_SKIP="${RETIS_NO_SKIP-root,btf}"
if [ "$(id -u)" -ne 0 ]; then
    exec sudo --preserve-env=RETIS_NO_SKIP,RETIS_VM_CACHE,RETIS_OVS_CACHE .venv/bin/python -m pytest --durations=25 "$@"
fi
exec .venv/bin/python -m pytest --durations=25 "$@"
