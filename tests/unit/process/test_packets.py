"""Places of events, gathered by packet."""

from array import array

import pytest

from retis_py.process.packets import Packets

KEY, OTHER = (7, 8), (9, 10)
TIME, EXTENT = 3000, 100


@pytest.mark.parametrize("memory", [1, 1 << 20])
def test_events_of_one_time_stay_in_the_order_of_the_file(memory: int) -> None:
    """Offsets of more than a byte: what is spilled is put in order by its bytes at first."""
    offsets = [0, 1, 255, 256, 511, 512, 65535, 65536, 1 << 40]
    packets = Packets(memory)
    for offset in offsets:
        packets.add(KEY, array("Q", (TIME, offset, EXTENT)))
    [series] = packets.series()
    assert series.places[1::3].tolist() == offsets
    packets.close()


@pytest.mark.parametrize("memory", [1, 1 << 20])
def test_a_packet_that_turns_out_to_be_anothers(memory: int) -> None:
    """Its events, of the same time, come first in the file."""
    packets = Packets(memory)
    packets.add(OTHER, array("Q", (TIME, 5, EXTENT)))
    packets.add(KEY, array("Q", (TIME, 300, EXTENT)))
    packets.add(OTHER, array("Q", (TIME, 700, EXTENT)))
    packets.rename(lambda key: KEY if key == OTHER else key, [OTHER])
    [series] = packets.series()
    assert series.key == KEY
    assert series.places[1::3].tolist() == [5, 300, 700]
    packets.close()
