"""The packet filter: a pcap-filter expression (pcap-filter(7)) as C for the program.

Two forms of it are made: one for packets with an Ethernet header, one that starts at the network
header, for where in the stack there is none (yet, or any more).
"""

import time
from dataclasses import dataclass, field
from threading import Thread

from retis_py.errors import UsageError
from retis_py.filters.cbpf import UntranslatableError, reach, translate
from retis_py.filters.libpcap import CompileError, Instruction, LinkType, compile_expression

MAX_INSTRUCTIONS = 4096
"""What each form may have: as many as the kernel takes for a socket's filter (BPF_MAXINSNS)."""

MAX_SECONDS = 60.0
"""What libpcap may take, whose time grows with the third power of an expression's length."""

_FORMS = {"L2": LinkType.ETHERNET, "L3": LinkType.RAW_IP}
_SHORTEN = "shorten it, for instance by 'net' and 'portrange' instead of many hosts and ports"


@dataclass(frozen=True, slots=True)
class PacketFilter:
    """A filter's C functions, ``static bool packet_filter_l2(struct packet_view *p)`` and ``…_l3``.

    A form that the expression does not allow is None, and ``missing`` says why ("L3": "no VLAN
    support for Raw IP"). The instructions are counted in classic BPF; the reach is how many bytes
    from the packet's start on a form may read, None where the packet itself decides on that.
    """

    l2: str | None
    l3: str | None
    l2_instructions: int
    l3_instructions: int
    l2_reach: int | None = None
    l3_reach: int | None = None
    missing: dict[str, str] = field(default_factory=dict)


def compile_packet_filter(expression: str) -> PacketFilter:
    """Compile the expression to the forms that it allows, at least one.

    Raises:
        UsageError: libpcap refuses it, or it is too long.
        MissingPrerequisite: libpcap is not installed.
    """
    texts: dict[str, str] = {}
    counts: dict[str, int] = {}
    reaches: dict[str, int | None] = {}
    missing: dict[str, str] = {}
    for form, compilation in _compile_forms(expression).items():
        try:
            program = compilation.result()
            _check_length(form, len(program))
            texts[form] = translate(program, f"packet_filter_{form.lower()}")
            counts[form] = len(program)
            reaches[form] = reach(program)
        except (CompileError, UntranslatableError) as error:
            missing[form] = one_line(error)
    if not texts:
        # What both forms refuse is a syntax error or the like, and the reasons are the same.
        raise refusal(missing["L2"])
    return PacketFilter(
        l2=texts.get("L2"),
        l3=texts.get("L3"),
        l2_instructions=counts.get("L2", 0),
        l3_instructions=counts.get("L3", 0),
        l2_reach=reaches.get("L2", 0),
        l3_reach=reaches.get("L3", 0),
        missing=missing,
    )


def one_line(error: Exception) -> str:
    """Return libpcap's words, which may have line breaks."""
    return " ".join(str(error).split())


def refusal(reason: str) -> UsageError:
    """Word that an expression is refused."""
    return UsageError(f"--filter-packet: {reason} (man pcap-filter has the syntax)")


class Compilation(Thread):
    """libpcap at work on an expression, for packets of one link type.

    In a thread, so that it can be interrupted and given up: ``start()``, ``join(seconds)``, then
    ``result()``. Raises UsageError from the constructor for what libpcap cannot be handed.
    """

    def __init__(self, expression: str, link_type: LinkType) -> None:
        super().__init__(daemon=True)
        if "\0" in expression:
            raise UsageError("--filter-packet: a NUL character cannot be in an expression")
        self._expression = expression
        self._link_type = link_type
        self._outcome: list[Instruction] | Exception | None = None

    def run(self) -> None:
        """Compile, in the thread."""
        try:
            self._outcome = compile_expression(self._expression, self._link_type)
        except Exception as error:
            self._outcome = error

    def result(self) -> list[Instruction]:
        """Return the program, or raise what compiling raised; UsageError if it is not done yet."""
        if self._outcome is None:
            raise UsageError(
                f"--filter-packet: libpcap did not compile the expression within {MAX_SECONDS:g} s:"
                f" {_SHORTEN}"
            )
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome


def _compile_forms(expression: str) -> dict[str, Compilation]:
    compilations = {form: Compilation(expression, link) for form, link in _FORMS.items()}
    for compilation in compilations.values():
        compilation.start()
    deadline = time.monotonic() + MAX_SECONDS
    for compilation in compilations.values():
        compilation.join(max(0, deadline - time.monotonic()))
    return compilations


def _check_length(form: str, length: int) -> None:
    if length > MAX_INSTRUCTIONS:
        raise UsageError(
            f"--filter-packet: the expression is too long, its {form} form has {length:,} BPF"
            f" instructions of {MAX_INSTRUCTIONS:,} at most: {_SHORTEN}"
        )
