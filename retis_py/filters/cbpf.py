"""Classic BPF into C: each instruction a line or two, each jump a goto.

The language is that of "The BSD Packet Filter" (McCanne, Jacobson, 1993) with libpcap's additions
(mod, xor), its meaning that of libpcap's ``bpf_filter()``: all arithmetic is of 32 bits without
sign, a load out of range and a division by zero reject the packet, a shift by 32 or more yields 0.
"""

from collections.abc import Sequence

from retis_py.filters.libpcap import Instruction

MEMORY_WORDS = 16  # BPF_MEMWORDS

_K, _X = 0x00, 0x08  # an operation's second operand: the constant, the register
_JUMP, _JUMP_ALWAYS = 0x05, 0x05
_COMPARISONS = {0x15: "==", 0x25: ">", 0x35: ">=", 0x45: "&"}
_OPPOSITES = {"==": "!=", ">": "<=", ">=": "<"}
_VERDICT = "return {verdict};"
_REJECT = "\n\t\treturn false;"
# The compiler must not put an operation on two values off to where its result is used: in a long
# expression all values would wait for that on the stack, which is small.
_NOW = '\n\tasm volatile("" : "+r"(A));'

_LOADS = {0x20: "packet_word", 0x28: "packet_half", 0x30: "packet_byte"}  # at a constant offset
_INDEXED_LOADS = {code + 0x20: load for code, load in _LOADS.items()}  # at X + a constant
_SIZES = {"packet_word": 4, "packet_half": 2, "packet_byte": 1}
_HEADER_LENGTH = 0xB1  # of the IPv4 header that starts there
_KNOWN_INDEXES, _UNKNOWN_INDEXES = (0x01, _HEADER_LENGTH), (0x07, 0x61, 0x81)  # what sets X
_MEMORY = {0x60: "A = {word};", 0x61: "X = {word};", 0x02: "{word} = A;", 0x03: "{word} = X;"}

# Opcodes as in pcap/bpf.h. In the C, {k} is the constant.
_C = {
    0x00: "A = {k};",
    0x01: "X = {k};",
    0x80: "A = p->len;",
    0x81: "X = p->len;",
    0x06: _VERDICT,
    0x16: "return A != 0;",
    0x07: "X = A;",
    0x87: "A = X;",
    0x84: "A = 0u - A;",
    _HEADER_LENGTH: f"if (!packet_byte(p, {{k}}, &X)){_REJECT}\n\tX = (X & 0xf) << 2;",
    **{code: f"if (!{load}(p, {{k}}, &A)){_REJECT}" for code, load in _LOADS.items()},
    # The sum must not wrap around to a place at the packet's start.
    **{
        code: f"if (X > {{last}} || !{load}(p, X + {{k}}, &A)){_REJECT}"
        for code, load in _INDEXED_LOADS.items()
    },
    **_MEMORY,
}
for _code, _sign in {0x04: "+", 0x14: "-", 0x24: "*", 0x44: "|", 0x54: "&", 0xA4: "^"}.items():
    _C |= {_code | _K: f"A {_sign}= {{k}};", _code | _X: f"A {_sign}= X;{_NOW}"}
for _code, _sign in {0x34: "/", 0x94: "%"}.items():
    _C |= {_code | _K: f"A {_sign}= {{k}};", _code | _X: f"if (!X){_REJECT}\n\tA {_sign}= X;{_NOW}"}
for _code, _sign in {0x64: "<<", 0x74: ">>"}.items():
    _C |= {_code | _K: f"A {_sign}= {{k}};", _code | _X: f"A = X < 32 ? A {_sign} X : 0;{_NOW}"}

# What C leaves undefined where the constant is out of its range.
_CONSTANT_DIVISIONS = (0x34, 0x94)
_CONSTANT_SHIFTS = (0x64, 0x74)

# Offsets from here on are none: they name the kernel's metadata and the starts of headers
# (SKF_LL_OFF, SKF_NET_OFF, SKF_AD_OFF of include/uapi/linux/filter.h).
_METADATA = 0x1_0000_0000 - 0x20_0000


class UntranslatableError(ValueError):
    """The program does what the C cannot: says what."""


def translate(program: Sequence[Instruction], name: str) -> str:
    """Write the program as ``static bool name(struct packet_view *p)``.

    Around it there must be ``packet_byte``, ``packet_half`` and ``packet_word``, each
    ``static bool (struct packet_view *p, u32 offset, u32 *value)``, false where that is out of
    range, and ``p->len``, the packet's length on the wire.

    Raises:
        UntranslatableError: an unknown opcode, a jump back (loops do not verify) or out of the
            program, a load of the kernel's metadata.
    """
    targets = _targets(program)
    lines = [_registers(program)]
    for at, instruction in enumerate(program):
        if at in targets:
            lines.append(f"L{at}:")
        text = _jump(at, instruction) if instruction.code & 7 == _JUMP else _line(at, instruction)
        if text:
            lines.append(f"\t{text}")
    body = "\n".join(lines)
    return f"static bool {name}(struct packet_view *p)\n{{\n{body}\n}}\n"


def reach(program: Sequence[Instruction]) -> int | None:
    """Return how many bytes from the packet's start on it may read; None where the packet says it.

    An upper bound: the register of indexed loads is only followed where it holds the length of an
    IPv4 header (60 at most) or a constant.
    """
    index = [60 if i.code == _HEADER_LENGTH else i.k for i in program if i.code in _KNOWN_INDEXES]
    known = not any(i.code in _UNKNOWN_INDEXES for i in program)
    ends = [0]
    for code, _, _, k in program:
        if code in _INDEXED_LOADS:
            if not known:
                return None
            ends.append(max(index, default=0) + k + _SIZES[_INDEXED_LOADS[code]])
        elif code in _LOADS or code == _HEADER_LENGTH:
            ends.append(k + _SIZES[_LOADS.get(code, "packet_byte")])
    return max(ends)


def _targets(program: Sequence[Instruction]) -> set[int]:
    """Return where jumps go to, except those to the next instruction, which are none."""
    targets = set()
    for at, (code, jt, jf, k) in enumerate(program):
        if code & 7 != _JUMP:
            continue
        offsets = {k} if code == _JUMP_ALWAYS else {jt, jf}
        if max(offsets) >= 0x8000_0000:
            raise UntranslatableError("it needs a loop (protochain), which no kernel would verify")
        if at + 1 + max(offsets) >= len(program):
            raise UntranslatableError(f"instruction {at} jumps out of the program")
        targets |= {at + 1 + offset for offset in offsets if offset}
    if not program or program[-1].code not in (0x06, 0x16):
        raise UntranslatableError("the program does not end with a verdict")
    return targets


def _registers(program: Sequence[Instruction]) -> str:
    # libpcap clears the scratch memory too, or its compiler saw to it that nobody can tell.
    words = sorted({i.k for i in program if i.code in _MEMORY})
    names = ["A", "X", *(f"M{word}" for word in words)]
    return f"\tu32 {', '.join(f'{name} = 0' for name in names)};\n"


def _line(at: int, instruction: Instruction) -> str:
    code, _, _, k = instruction
    template = _C.get(code)
    if template is None:
        raise UntranslatableError(f"instruction {at} has the unknown opcode {code:#x}")
    if code in _MEMORY and k >= MEMORY_WORDS:
        raise UntranslatableError(f"instruction {at} uses M[{k}], which does not exist")
    if code in _LOADS and k >= _METADATA:
        raise UntranslatableError(
            f"it reads the kernel's metadata at {k - 0x1_0000_0000}, which is not in the packet"
        )
    if code in _CONSTANT_DIVISIONS and not k:
        return "return false;"
    if code in _CONSTANT_SHIFTS and k > 31:
        return "A = 0;"
    return template.format(
        k=f"{k:#x}u", last=f"{0xFFFF_FFFF - k:#x}u", word=f"M{k}", verdict="true" if k else "false"
    )


def _jump(at: int, instruction: Instruction) -> str:
    code, jt, jf, k = instruction
    if code == _JUMP_ALWAYS:
        jt = jf = k
    elif code & ~_X not in _COMPARISONS:
        raise UntranslatableError(f"instruction {at} has the unknown opcode {code:#x}")
    if jt == jf:
        return f"goto L{at + 1 + jt};" if jt else ""
    sign, operand = _COMPARISONS[code & ~_X], "X" if code & _X else f"{k:#x}u"
    if not jt:
        opposite = f"A {_OPPOSITES[sign]} {operand}" if sign != "&" else f"!(A & {operand})"
        return f"if ({opposite})\n\t\tgoto L{at + 1 + jf};"
    otherwise = f"\n\tgoto L{at + 1 + jf};" if jf else ""
    return f"if (A {sign} {operand})\n\t\tgoto L{at + 1 + jt};{otherwise}"
