"""Reads pcapng as draft-ietf-opsawg-pcapng has it, and refuses what it does not allow.

Little-endian sections of the blocks that retis writes; written from the draft alone.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

SECTION_HEADER = 0x0A0D0D0A
INTERFACE = 1
ENHANCED_PACKET = 6
CUSTOM = 0x0BAD

COMMENT = 1
CUSTOM_UTF8 = 2988

Options = list[tuple[int, bytes]]


@dataclass(slots=True)
class Interface:
    """An Interface Description Block."""

    name: str
    description: str
    link_type: int
    snaplen: int
    ticks: int  # a second


@dataclass(slots=True)
class PacketBlock:
    """An Enhanced Packet Block."""

    interface: Interface
    time: int  # in the interface's units
    original: int
    data: bytes
    comments: list[str]
    custom: list[tuple[int, str]]  # enterprise number, value


@dataclass(slots=True)
class Section:
    """What a file of one section holds; ``kinds`` are the types of its blocks in order."""

    kinds: list[int] = field(default_factory=list)
    interfaces: list[Interface] = field(default_factory=list)
    packets: list[PacketBlock] = field(default_factory=list)
    custom: list[tuple[int, bytes]] = field(default_factory=list)  # data with their padding


def read_section(content: bytes) -> Section:
    section = Section()
    for kind, body in _blocks(content):
        section.kinds.append(kind)
        if kind == SECTION_HEADER:
            assert len(section.kinds) == 1, "a second section"
            magic, major, minor, length = struct.unpack_from("<IHHq", body)
            assert (magic, major, minor) == (0x1A2B3C4D, 1, 0)
            assert length in {-1, len(content) - len(body) - 12}
            list(_options(body[16:]))
        elif kind == INTERFACE:
            section.interfaces.append(_interface(body))
        elif kind == ENHANCED_PACKET:
            section.packets.append(_packet(body, section.interfaces))
        elif kind == CUSTOM:
            (number,) = struct.unpack_from("<I", body)
            section.custom.append((number, body[4:]))
        else:
            raise AssertionError(f"block of type {kind:#x}")
    assert section.kinds[:1] == [SECTION_HEADER]
    return section


def _blocks(content: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset < len(content):
        kind, length = struct.unpack_from("<II", content, offset)
        assert length >= 12, length
        assert length % 4 == 0, length
        assert offset + length <= len(content)
        (again,) = struct.unpack_from("<I", content, offset + length - 4)
        assert again == length, f"{length} at the start of a block, {again} at its end"
        yield kind, content[offset + 8 : offset + length - 4]
        offset += length


def _options(content: bytes) -> Iterator[tuple[int, bytes]]:
    """None at all, or some and the end of options, with which the block ends."""
    offset = 0
    while offset < len(content):
        code, length = struct.unpack_from("<HH", content, offset)
        offset += 4
        if code == 0:
            assert length == 0
            assert offset == len(content), "something after the end of options"
            return
        value = content[offset : offset + length]
        assert len(value) == length
        padding = content[offset + length : offset + length + -length % 4]
        assert padding == bytes(-length % 4)
        offset += length + len(padding)
        yield code, value
    assert not content, "no end of options"


def _interface(body: bytes) -> Interface:
    link_type, reserved, snaplen = struct.unpack_from("<HHI", body)
    assert reserved == 0
    options = dict(_options(body[8:]))
    resolution = options[9]
    assert len(resolution) == 1
    assert resolution[0] < 0x80, "a power of 2"
    name, description = options[2].decode(), options[3].decode()
    return Interface(name, description, link_type, snaplen, 10 ** resolution[0])


def _packet(body: bytes, interfaces: list[Interface]) -> PacketBlock:
    number, high, low, captured, original = struct.unpack_from("<IIIII", body)
    assert number < len(interfaces), "a packet before its interface"
    interface = interfaces[number]
    assert captured <= min(original, interface.snaplen)
    data = body[20 : 20 + captured]
    assert len(data) == captured
    padded = 20 + captured + -captured % 4
    assert body[20 + captured : padded] == bytes(-captured % 4)
    packet = PacketBlock(interface, high << 32 | low, original, data, [], [])
    for code, value in _options(body[padded:]):
        if code == COMMENT:
            packet.comments.append(value.decode())
        elif code == CUSTOM_UTF8:
            (enterprise,) = struct.unpack_from("<I", value)
            packet.custom.append((enterprise, value[4:].decode()))
        else:
            raise AssertionError(f"option {code}")
    return packet
