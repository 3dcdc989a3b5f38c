"""Between whom a packet travels."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retis_py.process.conversation import address_text, conversation

MACS = bytes.fromhex("020000000002020000000001")
ONE, TWO = ip_address("10.0.0.1").packed, ip_address("10.0.0.2").packed
ONE6, TWO6 = ip_address("2001:db8::1").packed, ip_address("2001:db8::2").packed
IPV4 = bytes(12)
IPV6 = bytes(8)


@pytest.mark.parametrize("tags", [b"", b"\x81\0\0\x0a", b"\x88\xa8\0\x0a\x81\0\0\x0b"])
def test_both_directions_are_one(tags: bytes) -> None:
    ether = MACS + tags
    assert conversation(ether + b"\x08\0" + IPV4 + ONE + TWO) == (ONE, TWO)
    assert conversation(ether + b"\x08\0" + IPV4 + TWO + ONE) == (ONE, TWO)
    assert conversation(ether + b"\x86\xdd" + IPV6 + TWO6 + ONE6) == (ONE6, TWO6)


def test_what_is_not_ip_counts_by_ethernet_address() -> None:
    low, high = MACS[6:], MACS[:6]
    assert conversation(MACS + b"\x08\x06" + bytes(28)) == (low, high)
    assert conversation(MACS + b"\x08\0" + IPV4 + ONE + TWO[:3]) == (low, high)
    assert conversation(MACS + b"\x86\xdd" + IPV6 + ONE6 + TWO6[:15]) == (low, high)
    assert conversation(MACS + b"\x81\0\0") == (low, high)
    assert conversation(MACS) is None


@given(st.binary(max_size=80))
def test_any_bytes(frame: bytes) -> None:
    found = conversation(frame)
    assert (found is None) == (len(frame) < 14)
    if found is not None:
        assert found[0] <= found[1]
        assert all(address_text(address).isprintable() for address in found)


def test_addresses_as_text() -> None:
    assert [address_text(each) for each in (ONE, ONE6, MACS[:6])] == [
        "10.0.0.1",
        "2001:db8::1",
        "02:00:00:00:00:02",
    ]
