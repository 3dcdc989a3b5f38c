"""What a spool takes on disk is told apart: to be decoded, or to be given back."""

import os
from contextlib import closing
from pathlib import Path

import pytest

from lab.netns import LabError
from retis_py.collect.spool import create_spool
from retis_py.collect.spool_format import FIRST_CHUNK, Decoded
from retis_py.kernel.libc import punch_hole
from soak.measured import SpoolSize, WatchedSpool

SIZE = 1 << 20


def test_spool(tmp_path: Path) -> None:
    with (
        create_spool(tmp_path / "events", 1 << 30) as spool,
        closing(WatchedSpool(os.getpid())) as watched,
    ):
        end = FIRST_CHUNK + SIZE
        os.pwrite(spool.descriptor, b"x" * SIZE, FIRST_CHUNK)
        os.fsync(spool.descriptor)
        spool.control.received = 1000
        waiting, decoded = watched.size()
        assert waiting == pytest.approx(end, abs=FIRST_CHUNK)
        assert decoded == 0
        assert (watched.is_decoded(), watched.not_decoded()) == (False, 1000)
        spool.control.set_decoded(Decoded(end, end, 0))
        spool.control.events = 1000
        assert watched.size() == SpoolSize(waiting - SIZE, SIZE)
        assert watched.is_decoded()
        # While it is given back, and once that is said.
        punch_hole(spool.descriptor, FIRST_CHUNK, SIZE)
        assert watched.size() == SpoolSize(0, SIZE)
        spool.control.freed += SIZE
        assert watched.size() == SpoolSize(waiting - SIZE, 0)
        # What did not fit, and is still in the kernel.
        spool.control.blocked = True
        assert not watched.is_decoded()


def test_no_spool() -> None:
    with pytest.raises(LabError, match="no spool"):
        WatchedSpool(os.getpid())
