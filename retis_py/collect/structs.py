"""The kernel's structs for the program, laid out as the running kernel's BTF says.

Each piece of the program names what it reads, ``KERNEL_STRUCT(sk_buff, dev, users.refs.counter);``.
For each struct one definition with just these members at their offsets is made; bit-fields become
functions ``READ_sk_buff__cloned(skb)``; a member that the kernel lacks becomes a macro
``NO_sk_buff__member`` to test with ``#ifdef``.
"""

import re
from collections.abc import Iterable, Sequence

from msgspec import Struct, field

from retis_py.kernel.btf import Btf, Kind, Member

_DECLARATION = re.compile(r"^KERNEL_STRUCT\(\s*(\w+)\s*,([^)]*)\);", re.MULTILINE)
_INTEGERS = {1: "8", 2: "16", 4: "32", 8: "64"}


def extract_declarations(text: str, wanted: dict[str, set[str]]) -> str:
    """Add the KERNEL_STRUCT lines of a piece to ``wanted`` and return the piece without them.

    Line numbers stay as they are.
    """

    def blank(match: re.Match[str]) -> str:
        members = (m.strip() for m in match[2].split(","))
        wanted.setdefault(match[1], set()).update(m for m in members if m)
        return "\n" * match[0].count("\n")

    return _DECLARATION.sub(blank, text)


def define_structs(btfs: Sequence[Btf], wanted: dict[str, set[str]]) -> str:
    """Write the C definitions of the structs wanted; the first BTF that knows one decides."""
    pieces = [f"struct {name};\n" for name in sorted(wanted)]
    for name, paths in sorted(wanted.items()):
        for btf in btfs:
            members = btf.struct(name)
            if members is not None:
                pieces.append(_define(btf, name, members, sorted(paths)))
                break
        else:
            pieces.append(f"#define NO_{name} 1\n")
            pieces.extend(_absent(name, path) for path in sorted(paths))
    return "".join(pieces)


class _Node(Struct):
    """A member to define, and those inside it that are wanted; ``offset`` is in bits."""

    member: Member
    inside: "dict[str, _Node]" = field(default_factory=dict)


def _define(btf: Btf, name: str, members: dict[str, Member], paths: Iterable[str]) -> str:
    tree: dict[str, _Node] = {}
    macros = []
    for path in paths:
        found = _resolve(btf, members, path)
        if found is None:
            macros.append(_absent(name, path))
        elif found[-1].bit_size:
            macros.append(_bitfield(name, path, found))
        else:
            level = tree
            for member in found:
                level = level.setdefault(member.name, _Node(member)).inside
    body = _body(btf, tree)
    return f"struct {name} {{\n{body}}};\n{''.join(macros)}"


def _resolve(btf: Btf, members: dict[str, Member], path: str) -> list[Member] | None:
    """Follow ``users.refs.counter`` through embedded structs."""
    found = []
    for i, part in enumerate(names := path.split(".")):
        member = members.get(part)
        if member is None:
            return None
        found.append(member)
        if i + 1 < len(names):
            inner = btf.strip(member.type_id)
            if btf.type(inner).kind not in (Kind.STRUCT, Kind.UNION):
                return None
            members = {m.name: m for m in btf.members(inner)}
    return found


def _body(btf: Btf, nodes: dict[str, _Node]) -> str:
    # Each member in a struct of its own, all of them in one union: members may overlap, as
    # those of the kernel's own unions do.
    lines = []
    for name, node in nodes.items():
        offset = node.member.bit_offset // 8
        padding = f"char _before_{name}[{offset}]; " if offset else ""
        if node.inside:
            inside = _body(btf, node.inside).replace("\n", " ")
            text = f"struct {{ {inside}}} {name};"
        else:
            text = _declare(btf, node.member.type_id, name)
        lines.append(f"\tstruct {{ {padding}{text} }} __attribute__((packed));\n")
    return f"union {{\n{''.join(lines)}}};\n"


def _declare(btf: Btf, type_id: int, name: str) -> str:
    t = btf.type(btf.strip(type_id))
    size = btf.size(type_id)
    match t.kind:
        case Kind.PTR:
            return f"{_pointer(btf, t.ref)}*{name};"
        case Kind.INT if size in _INTEGERS:
            return f"{_integer(btf, btf.strip(type_id), size)} {name};"
        case Kind.ENUM | Kind.ENUM64:
            return f"u{_INTEGERS[size]} {name};"
        case Kind.ARRAY:
            element, count = btf.array(t)
            return _declare(btf, element, f"{name}[{count}]")
        case _ if size in _INTEGERS:  # a struct around one number: possible_net_t, atomic_t
            return f"u{_INTEGERS[size]} {name};"
        case _:
            return f"u8 {name}[{size}];"


def _pointer(btf: Btf, target: int) -> str:
    stripped = btf.strip(target)
    if not stripped:
        return "void "
    t = btf.type(stripped)
    if t.kind in (Kind.STRUCT, Kind.FWD) and t.name:
        return f"struct {t.name} "
    if t.kind is Kind.UNION and t.name:
        return f"union {t.name} "
    if t.kind is Kind.INT and (size := btf.size(stripped)) in _INTEGERS:
        return f"u{_INTEGERS[size]} "
    return "void "


def _integer(btf: Btf, type_id: int, size: int) -> str:
    return f"{'s' if btf.is_signed(type_id) else 'u'}{_INTEGERS[size]}"


def _bitfield(struct: str, path: str, found: list[Member]) -> str:
    start = sum(m.bit_offset for m in found)
    size = found[-1].bit_size
    byte, shift = divmod(start, 8)
    length = next(n for n in _INTEGERS if n * 8 >= shift + size)
    kind = f"u{_INTEGERS[length]}"
    # A function and no macro: BCC's front end rewrites dereferences inside macros wrongly.
    return (
        f"static {kind} READ_{struct}__{path.replace('.', '__')}(struct {struct} *p) {{\n"
        f"\t{kind} value = 0;\n"
        f"\tbpf_probe_read_kernel(&value, sizeof(value), (char *)p + {byte});\n"
        f"\treturn (value >> {shift}) & {(1 << size) - 1:#x};\n}}\n"
    )


def _absent(struct: str, path: str) -> str:
    return f"#define NO_{struct}__{path.replace('.', '__')} 1\n"
