"""Wire structs are laid out as a C compiler lays them out."""

import struct
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retis_py.events.sections import dev, netns, packet, skb, skb_drop, skb_tracking
from retis_py.events.wire import HEADER, Wire, text
from unit.collect.c_layout import measure

SIZES = {"u8": 1, "s8": 1, "u16": 2, "s16": 2, "u32": 4, "s32": 4, "u64": 8, "s64": 8}
SECTIONS = [
    HEADER,
    skb_tracking.WIRE,
    skb_drop.WIRE,
    skb.VLAN_ACCEL_WIRE,
    skb.META_WIRE,
    skb.DATAREF_WIRE,
    skb.GSO_WIRE,
    packet.WIRE,
    dev.WIRE,
    netns.WIRE,
]


def offsets(wire: Wire) -> dict[str, int]:
    """Where unpacking finds each member: the byte that makes its value other than zero."""
    layout = struct.Struct("=" + wire.format)
    found: dict[str, int] = {}
    for at in range(layout.size):
        data = bytearray(layout.size)
        data[at] = 1
        for name, value in zip(wire.fields, layout.unpack(data), strict=True):
            if value and any(value) if isinstance(value, bytes) else value:
                found.setdefault(name, at)
    return found


def check(wires: list[Wire]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        definitions = "".join(wire.c_text for wire in wires)
        asked = {f"part_{wire.name}": wire.fields for wire in wires}
        measured = measure(definitions, asked, Path(folder))
    for wire in wires:
        size, members = measured[f"part_{wire.name}"]
        assert struct.calcsize("=" + wire.format) == wire.size == size, wire.members
        assert offsets(wire) == {m: at for m, (at, _) in members.items()}, wire.members


@st.composite
def members(draw: st.DrawFn) -> str:
    kinds = draw(st.lists(st.sampled_from([*SIZES, "char"]), min_size=1, max_size=10))
    lines = []
    for number, kind in enumerate(kinds):
        count = f"[{draw(st.integers(1, 20))}]" if kind == "char" else ""
        lines.append(f"{kind} m{number}{count}")
    return draw(st.sampled_from(["; ", ";", " ;\n\t"])).join(lines) + draw(
        st.sampled_from(["", ";", "; "])
    )


def test_sections() -> None:
    check(SECTIONS)


@settings(max_examples=6, deadline=None)
@given(st.lists(members(), min_size=20, max_size=40))
def test_any_members(texts: list[str]) -> None:
    check([Wire(f"w{number}", text) for number, text in enumerate(texts)])


def test_values_come_out() -> None:
    wire = Wire("x", "u8 a; s64 b; char c[3]; u16 d; s8 e")
    layout = struct.Struct("=" + wire.format)
    assert wire.fields == ("a", "b", "c", "d", "e")
    assert layout.size == wire.size == 24
    assert layout.unpack(layout.pack(255, -(2**63), b"xyz", 65535, -128)) == (
        255, -(2**63), b"xyz", 65535, -128,
    )  # fmt: skip


def test_definition() -> None:
    assert Wire("dev", "char name[16]; u32 ifindex").c_text == (
        "struct part_dev {\n\tchar name[16];\n\tu32 ifindex;\n} __attribute__((aligned(8)));\n"
    )


def test_parts_follow_one_another_aligned() -> None:
    assert all(wire.size % 8 == 0 for wire in SECTIONS)
    # The bitmap's place, where the decoder looks before it knows the layout.
    assert offsets(HEADER)["parts"] == 16


@pytest.mark.parametrize(
    "bad",
    [
        "int x",
        "u32",
        "u32 x[4]",
        "char x",
        "char *x",
        "char x[]",
        "char x[-1]",
        "u128 x",
        "struct foo bar",
        "u32 x:3",
        "u32 x, y",
        "u32 ok; u24 x",
        "unsigned int x",
    ],
)
def test_bad_members_are_refused(bad: str) -> None:
    wire = Wire("broken", bad)
    with pytest.raises(ValueError, match="wire struct broken: cannot lay out"):
        _ = wire.format
    with pytest.raises(ValueError, match="cannot lay out"):
        _ = wire.fields


@given(st.text(max_size=30))
def test_any_text_is_laid_out_or_refused(members: str) -> None:
    wire = Wire("any", members)
    try:
        size = wire.size
    except ValueError:
        return
    assert struct.calcsize("=" + wire.format) == size


@pytest.mark.parametrize(
    ("raw", "decoded"),
    [
        (b"eth0\0\0\0\0", "eth0"),
        (b"\0eth0", ""),
        (b"0123456789abcdef", "0123456789abcdef"),
        (b"a\xffb\0", "a\ufffdb"),
        ("ü".encode() + b"\0x", "ü"),
        (b"", ""),
    ],
)
def test_text(raw: bytes, decoded: str) -> None:
    assert text(raw) == decoded
