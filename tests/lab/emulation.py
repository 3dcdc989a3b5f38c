"""Which tests are worth their time in a guest of tests/vm, where everything is emulated.

``retis collect`` takes ten times as long to start there. So tests of what no kernel changes (wrong
input, formats, signals) run on the machine itself only, and those that a kernel does change share
collections.
"""

import os

import pytest

# tests/vm/boot.py sets it in every guest.
EMULATED = "RETIS_VM_OUT" in os.environ

fast_machine_only = pytest.mark.skipif(
    EMULATED, reason="nothing that the kernel changes, and slow on emulated CPUs"
)
