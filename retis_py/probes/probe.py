"""Probes as a user asks for them, ``[TYPE:]TARGET[/OPTIONS]``, and as they are attached."""

import platform
from enum import StrEnum

from msgspec import Struct

from retis_py.errors import UsageError
from retis_py.kernel.btf import Argument


class ProbeType(StrEnum):
    """The values that ``probe_type`` has in events' sections ``kernel`` and ``userspace``."""

    KPROBE = "kprobe"
    KRETPROBE = "kretprobe"
    RAW_TRACEPOINT = "raw_tracepoint"
    USDT = "usdt"

    @property
    def number(self) -> int:
        """``enum probe_type`` of bpf/core/context.h."""
        return list(ProbeType).index(self)


_TYPES = {
    "kprobe": ProbeType.KPROBE,
    "k": ProbeType.KPROBE,
    "kretprobe": ProbeType.KRETPROBE,
    "kr": ProbeType.KRETPROBE,
    "raw_tracepoint": ProbeType.RAW_TRACEPOINT,
    "tp": ProbeType.RAW_TRACEPOINT,
}

FED_FIELDS = {
    "struct sk_buff *": "skb",
    "struct net_device *": "dev",
    "struct net *": "net",
    "struct sock *": "sk",
    "enum skb_drop_reason": "drop_reason",
    "struct nft_pktinfo *": "nft_pktinfo",
    "struct nft_traceinfo *": "nft_traceinfo",
    "enum nft_trace_types": "nft_trace_type",
}
"""Which argument types a probe takes along, and a name for each: what it fills in the context.

In the order of ``enum shape_field`` (bpf/core/shape.h).
"""

PACKET_TYPES = frozenset({"struct sk_buff *", "struct nft_pktinfo *", "struct nft_traceinfo *"})
"""Types of :data:`FED_FIELDS` that lead to a packet: what feeds on one feeds on all of them."""

PACKET_FIELDS = frozenset(FED_FIELDS[kind] for kind in PACKET_TYPES)

_SHAPE_BITS = 5
_SHAPE_NONE = 31

# Where struct pt_regs has the registers that hold a function's first six arguments.
# arch/x86/include/asm/ptrace.h: di, si, dx, cx, r8, r9; arch/arm64/include/asm/ptrace.h: x0 to x5.
_ARGUMENT_REGISTERS = {
    "x86_64": (14, 13, 12, 11, 9, 8),
    "aarch64": (0, 1, 2, 3, 4, 5),
}

REGISTER_ARGUMENTS = 6
"""How many arguments of a function are in registers; the others are out of reach."""


class ProbeRequest(Struct, frozen=True):
    """What was asked for; ``target`` may hold wildcards (``*``, ``?``, ``[...]``).

    A collector's own probe has a ``role``, the number that the collector's hooks know it by; it may
    be ``silent``, which makes no event, and an ``optional`` one is left out where the kernel lacks
    it.
    """

    type: ProbeType
    target: str
    stack: bool = False
    context: bool = False
    role: int = 0
    silent: bool = False
    optional: bool = False

    @property
    def is_pattern(self) -> bool:
        """Whether the target may stand for several probes."""
        return any(c in self.target for c in "*?[")

    def __str__(self) -> str:
        return f"{self.type}:{self.target}"


def register_of(position: int) -> int:
    """Return which word of struct pt_regs holds a function's argument at that position."""
    return _ARGUMENT_REGISTERS[platform.machine()][position]


class Shape(Struct, frozen=True):
    """What probes have in common that share a loaded program.

    ``arguments`` are pairs of a name of :data:`FED_FIELDS` and the argument's position, from 0.
    """

    type: ProbeType
    arguments: tuple[tuple[str, int], ...]
    stack: bool
    context: bool = False
    role: int = 0
    silent: bool = False

    @property
    def number(self) -> int:
        """The constant that says so to the program (bpf/core/shape.h)."""
        positions = dict(self.arguments)
        number = 0
        for flag in (self.silent, self.role, self.context, self.stack):
            number = number << _SHAPE_BITS | int(flag)
        for field in reversed(FED_FIELDS.values()):
            number = number << _SHAPE_BITS | self._place(positions.get(field))
        return number

    def _place(self, position: int | None) -> int:
        """Return which word of the probe's context holds the argument at that position."""
        if position is None:
            return _SHAPE_NONE
        if self.type is ProbeType.RAW_TRACEPOINT:
            return position
        return register_of(position)


class Probe(Struct, frozen=True):
    """A probe that can be attached.

    ``symbol`` is as events have it, ``ip_rcv`` or ``skb:kfree_skb``; ``address`` is the
    function's, 0 for tracepoints. An ``optional`` one came from a wildcard: collection goes on
    without it where the kernel refuses it. One with ``context`` has no packet of its own and is
    reported with the one that is being handled; ``role`` and ``silent`` are as in the request.
    """

    type: ProbeType
    symbol: str
    arguments: tuple[tuple[str, int], ...]
    stack: bool = False
    address: int = 0
    optional: bool = False
    context: bool = False
    role: int = 0
    silent: bool = False

    @property
    def shape(self) -> Shape:
        """What its program is loaded for."""
        return Shape(self.type, self.arguments, self.stack, self.context, self.role, self.silent)

    @property
    def name(self) -> str:
        """The name without a tracepoint's group, as it is attached by."""
        return self.symbol.rpartition(":")[2]

    def __str__(self) -> str:
        return f"{self.type}:{self.symbol}"


class UserProbe(Struct, frozen=True):
    """A USDT probe of a program: ``symbol`` is as events have it, ``provider:name``.

    ``path`` is the program's, as the process saw it that it was found by.
    """

    symbol: str
    path: str

    def __str__(self) -> str:
        return f"{ProbeType.USDT}:{self.symbol}"


def parse_probe(text: str) -> ProbeRequest:
    """Parse ``[TYPE:]TARGET[/OPTIONS]``.

    Without a type, a target with one ``:`` is a raw tracepoint and any other a kprobe.

    Raises:
        UsageError: it is none.
    """
    if not text.isascii() or not text.isprintable() or " " in text:
        raise UsageError(f"probe '{text}': names of functions and tracepoints are plain ASCII")
    body, *options = text.split("/")
    unknown = [o for o in options if o not in ("stack", "stack-context")]
    if unknown:
        raise UsageError(
            f"probe '{text}': unknown option '{unknown[0]}', use /stack or /stack-context"
        )
    kind, colon, target = body.partition(":")
    if not colon:
        kind, target = "kprobe", body
    elif kind not in _TYPES:
        if target.count(":") or not target:
            raise UsageError(
                f"probe '{text}': unknown type '{kind}',"
                " use kprobe (k), kretprobe (kr) or raw_tracepoint (tp)"
            )
        kind, target = "raw_tracepoint", body
    probe_type = _TYPES[kind]
    if probe_type is ProbeType.RAW_TRACEPOINT:
        group, colon, name = target.partition(":")
        if not group or not name or ":" in name:
            raise UsageError(
                f"probe '{text}': a tracepoint is named GROUP:NAME, as in skb:kfree_skb"
            )
    elif not target or ":" in target:
        raise UsageError(f"probe '{text}': a function's name is expected, as in kprobe:ip_rcv")
    context = "stack-context" in options
    if context and probe_type is not ProbeType.KPROBE:
        raise UsageError(f"probe '{text}': /stack-context is for functions' entries (kprobe)")
    return ProbeRequest(probe_type, target, "stack" in options, context)


def fed_arguments(arguments: list[Argument], feeds: frozenset[str]) -> tuple[tuple[str, int], ...]:
    """Return which of :data:`FED_FIELDS` the arguments give, () where no collector feeds on any.

    The first argument of each type counts; for functions the caller cuts off those that no
    register holds.
    """
    if feeds & PACKET_TYPES:
        feeds |= PACKET_TYPES
    if not any(a.type in feeds for a in arguments):
        return ()
    found: dict[str, int] = {}
    for position, argument in enumerate(arguments):
        member = FED_FIELDS.get(argument.type)
        if member is not None:
            found.setdefault(member, position)
    return tuple(sorted(found.items()))
