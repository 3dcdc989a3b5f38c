"""Random metadata expressions, and memory in which what they compare exists.

Written apart from retis_py.filters: members are looked up in BTF here again.
"""

from dataclasses import dataclass
from functools import cache
from random import Random

from interop.meta_evaluation import (
    ALL,
    MEMORY_BASE,
    MEMORY_SIZE,
    OPERATORS,
    Comparison,
    Joined,
    Memory,
    NumberSpec,
    comparisons,
)
from retis_py.kernel.btf import Btf, Kind, Member
from unit.filters.made_types import VIA

# Where walks begin, so that they do not all stay within the sk_buff.
_STARTS = (
    "sk_buff",
    "sk_buff.dev",
    "sk_buff.dev.nd_net.net",
    "sk_buff.sk",
    "sk_buff.sk.__sk_common",
    "sk_buff._nfct:~0x7:nf_conn",
    VIA,
    VIA,
)


@dataclass(frozen=True)
class Found:
    """A member, and the struct that it leads to."""

    btf: Btf
    member: Member
    kind: Kind | None
    target: tuple[Btf, int] | None


@cache
def members_of(btf: Btf, struct: int) -> dict[str, Found]:
    found = {}
    for member in btf.members(struct):
        type_id = btf.strip(member.type_id)
        kind = btf.type(type_id).kind if type_id else None
        target = None
        if kind in (Kind.STRUCT, Kind.UNION):
            target = (btf, type_id)
        elif kind is Kind.PTR:
            pointee = btf.strip(btf.type(type_id).ref)
            if pointee and btf.type(pointee).kind in (Kind.STRUCT, Kind.UNION):
                target = (btf, pointee)
        found[member.name] = Found(btf, member, kind, target)
    return found


def expression(random: Random, btfs: list[Btf], depth: int = 2) -> Comparison | Joined:
    """A comparison, or several joined, in parentheses or not."""
    if depth == 0 or random.random() < 0.4:
        return _comparison(random, btfs)
    operands = tuple(expression(random, btfs, depth - 1) for _ in range(random.randint(1, 4)))
    joiners = tuple(random.choice(("&&", "and", "||", "or")) for _ in operands[1:])
    text = ""
    for joiner, operand in zip(("", *joiners), operands, strict=True):
        joined = isinstance(operand, Joined)
        around = random.choice((" ", "  ", "\t")) if joiner.isalpha() else random.choice(("", " "))
        parenthesised = f"({operand.text})" if joined or random.random() < 0.1 else operand.text
        text += f"{around}{joiner}{around}{parenthesised}" if joiner else parenthesised
    return Joined(operands, joiners, text)


def _comparison(random: Random, btfs: list[Btf]) -> Comparison:
    while True:
        made = _try_comparison(random, btfs)
        if made is not None:
            return made


def _try_comparison(random: Random, btfs: list[Btf]) -> Comparison | None:
    text = random.choice(_STARTS)
    hops, offset, at = _begin(text, btfs)
    for _ in range(random.randint(1, 5)):
        names = members_of(*at)
        if not names:
            return None
        wanted = random.choice(("char *", "char["))
        strings = [n for n in sorted(names) if _described(names[n]).startswith(wanted)]
        name = random.choice(strings if strings and random.random() < 0.25 else sorted(names))
        found = names[name]
        text += f".{name}"
        offset += found.member.bit_offset // 8
        if found.target and found.kind is not Kind.PTR:
            at = found.target
        elif found.target and random.random() < 0.7:
            mask = random.choice((ALL, ALL, ALL, ALL ^ 7))
            if mask != ALL:
                text += random.choice((":~7", ":~0x7", ":~0b111", f":{mask:#x}", f":{mask}"))
            hops.append((offset, mask))
            offset, at = 0, found.target
        else:
            return _leaf(random, text, tuple(hops), offset, found)
    return None


def _described(found: Found) -> str:
    return found.btf.describe(found.member.type_id).replace("unsigned char", "u8")


@cache
def _walk(text: str, btfs: tuple[Btf, ...]) -> tuple[tuple[tuple[int, int], ...], int, Btf, int]:
    btf = btfs[0]
    struct = btf.find("sk_buff", Kind.STRUCT)
    hops, offset = [], 0
    for part in text.split(".")[1:]:
        name, *cast = part.split(":")
        assert struct is not None
        found = members_of(btf, struct)[name]
        offset += found.member.bit_offset // 8
        if cast:
            hops.append((offset, ALL ^ 7))
            btf = next(b for b in btfs if b.find(cast[1], Kind.STRUCT))
            struct, offset = btf.find(cast[1], Kind.STRUCT), 0
            continue
        assert found.target is not None
        if found.kind is Kind.PTR:
            hops.append((offset, ALL))
            offset = 0
        btf, struct = found.target
    assert struct is not None
    return tuple(hops), offset, btf, struct


def _begin(text: str, btfs: list[Btf]) -> tuple[list[tuple[int, int]], int, tuple[Btf, int]]:
    hops, offset, btf, struct = _walk(text, tuple(btfs))
    return list(hops), offset, (btf, struct)


def _leaf(
    random: Random, text: str, hops: tuple[tuple[int, int], ...], offset: int, found: Found
) -> Comparison | None:
    btf, member = found.btf, found.member
    if found.kind is None:
        return None
    leaf = btf.type(btf.strip(member.type_id))
    if found.kind is Kind.ARRAY:
        element, count = btf.array(leaf)
        is_text = btf.describe(element) == "char"
        return _text_leaf(random, text, hops, offset, count) if is_text else None
    if found.kind is Kind.PTR and btf.describe(leaf.ref) == "char" and random.random() < 0.8:
        return _text_leaf(random, text, hops, offset, None)
    bits = member.bit_size or btf.size(member.type_id) * 8
    if found.kind not in (Kind.INT, Kind.PTR, Kind.ENUM, Kind.ENUM64) or bits > 64:
        return None
    if member.bit_offset % 8 + bits > 64:
        return None
    if found.kind is Kind.INT:
        signed = btf.is_signed(btf.strip(member.type_id))
    else:
        signed = found.kind is not Kind.PTR and leaf.bitfields
    return _number_leaf(random, text, hops, offset, found, bits, signed, leaf.name)


def _number_leaf(  # noqa: PLR0917 (what the leaf's caller has found out)
    random: Random,
    text: str,
    hops: tuple[tuple[int, int], ...],
    offset: int,
    found: Found,
    bits: int,
    signed: bool,
    type_name: str,
) -> Comparison:
    mask = None
    if random.random() < 0.3:
        mask = random.getrandbits(bits) or 1
        wide = mask | random.choice((0, 0, random.getrandbits(64) >> bits << bits))
        inverted = f"~{random.choice((hex, bin, str))(wide ^ ALL)}"
        text += f":{random.choice((inverted, random.choice((hex, bin, str))(wide)))}"
        signed = False
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    if type_name == "_Bool":
        high = 1
    if mask is not None:
        high = mask
    number = NumberSpec(found.member.bit_offset % 8, bits, signed, mask)
    if random.random() < 0.15:
        return Comparison(text, hops, offset, "!=", number, 0)
    operator = random.choice(tuple(OPERATORS))
    value = random.choice((low, high, 0, min(1, high), random.randint(low, high)))
    if mask is not None and operator in ("==", "!="):
        value &= mask
    shown = random.choice((hex, bin, str))(value) if value >= 0 else str(value)
    names = {}
    if found.kind in (Kind.ENUM, Kind.ENUM64) and type_name and mask is None:
        known = found.btf.enum(type_name) or {}
        names = {n: v for n, v in known.items() if low <= v <= high}
    if names and random.random() < 0.5:
        shown, value = random.choice(sorted(names.items()))
    if (operator, value) in (("<", low), (">", high)):
        operator += "="  # never true: refused
    space = random.choice(("", " "))
    return Comparison(
        f"{text}{space}{operator}{space}{shown}", hops, offset, operator, number, value
    )


def _text_leaf(
    random: Random,
    text: str,
    hops: tuple[tuple[int, int], ...],
    offset: int,
    array: int | None,
) -> Comparison:
    longest = 62 if array is None else 63
    if array:
        longest = min(array, 64 if array == 64 else 63)
    length = min(longest, random.choice((0, 1, 4, 7, 8, 9, 15, 16, longest, random.randint(0, 63))))
    value = "".join(random.choice("abz09._-/ \\*é") for _ in range(length))
    while len(value.encode()) > longest:
        value = value[:-1]
    operator, quote = random.choice(("==", "!=")), random.choice("\"'")
    written = f"{text} {operator} {quote}{value}{quote}"
    return Comparison(written, hops, offset, operator, None, value.encode(), array)


# Memory


def memory_for(random: Random, trees: list[Comparison | Joined]) -> tuple[Memory, int]:
    """Memory, and the address of an sk_buff in it, in which much of what is compared exists."""
    noise = random.choice((random.randbytes, bytes))
    memory = Memory(bytearray(noise(MEMORY_SIZE)))
    skb = MEMORY_BASE + random.randrange(0, MEMORY_SIZE // 2, 8)
    for tree in random.sample(trees, len(trees)):
        for comparison in comparisons(tree):
            _plant(random, memory, skb, comparison)
    return memory, skb


def _plant(random: Random, memory: Memory, skb: int, c: Comparison) -> None:
    at = skb
    for offset, mask in c.hops:
        here = memory.read(at + offset, 8)
        if here is None:
            return
        pointer = int.from_bytes(here, "little") & mask
        # What earlier comparisons planted is mostly left, else few would still find theirs.
        if memory.read(pointer, 1) is None or random.random() < 0.1:
            where = random.random()
            pointer = MEMORY_BASE + random.randrange(0, MEMORY_SIZE, 8)
            if where < 0.05:
                pointer = 0
            elif where < 0.1:
                pointer = random.getrandbits(64) & mask
            memory.write(
                at + offset, (pointer | (random.getrandbits(64) & ~mask)).to_bytes(8, "little")
            )
        at = pointer
    at += c.offset
    if random.random() < 0.3:
        return
    if c.number is not None:
        assert isinstance(c.value, int)
        c.number.write(memory, at, c.value + random.choice((-1, 0, 0, 1)))
        return
    assert isinstance(c.value, bytes)
    planted = random.choice(
        (c.value + b"\0", c.value + b"\0x", c.value + b"x", c.value, c.value[:-1] + b"\0", b"\0")
    )
    if c.array is None:
        # Sometimes right before memory ends.
        where = random.choice((random.randrange(MEMORY_SIZE), MEMORY_SIZE - len(planted)))
        memory.write(at, (MEMORY_BASE + where).to_bytes(8, "little"))
        at = MEMORY_BASE + where
    elif c.array:
        planted = planted[: c.array]
    memory.write(at, planted)
