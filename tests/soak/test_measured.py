"""What a spool takes on disk is told apart: to be decoded, or to be given back."""

import os
from pathlib import Path

import pytest

from retis_py.collect.spool import create_spool
from retis_py.collect.spool_format import FIRST_CHUNK, Decoded
from retis_py.kernel.libc import punch_hole
from soak.measured import SpoolSize, spool_size

SIZE = 1 << 20


def test_spool_size(tmp_path: Path) -> None:
    with create_spool(tmp_path / "events", 1 << 30) as spool:
        end = FIRST_CHUNK + SIZE
        os.pwrite(spool.descriptor, b"x" * SIZE, FIRST_CHUNK)
        os.fsync(spool.descriptor)
        waiting, decoded = spool_size(os.getpid())
        assert waiting == pytest.approx(end, abs=FIRST_CHUNK)
        assert decoded == 0
        spool.control.set_decoded(Decoded(end, end, 0))
        assert spool_size(os.getpid()) == SpoolSize(waiting - SIZE, SIZE)
        # While it is given back, and once that is said.
        punch_hole(spool.descriptor, FIRST_CHUNK, SIZE)
        assert spool_size(os.getpid()) == SpoolSize(0, SIZE)
        spool.control.freed += SIZE
        assert spool_size(os.getpid()) == SpoolSize(waiting - SIZE, 0)


def test_no_spool() -> None:
    assert spool_size(os.getpid()) == SpoolSize(0, 0)
