"""The packet filter for packets that were captured already: libpcap compiles it and runs it."""

import ctypes
from collections.abc import Callable
from ctypes import c_char_p, c_uint32, c_void_p
from functools import cache

from retis_py.filters import packet
from retis_py.filters.libpcap import CompileError, InstructionStruct, LinkType, library


class OfflineFilter:
    """A pcap-filter expression (pcap-filter(7)) for packets that begin with Ethernet.

    Raises from the constructor: UsageError where libpcap refuses the expression,
    MissingPrerequisite where there is no libpcap. Can be pickled, and used by many threads.
    """

    __slots__ = ("_address", "_program", "_run", "expression")

    def __init__(self, expression: str) -> None:
        self.expression = expression
        self._program = _compile(expression)
        self._address = ctypes.addressof(self._program)
        self._run = _interpreter()

    def matches(self, data: bytes, wire_len: int) -> bool:
        """Whether a packet matches, given the bytes of it that were captured and its real length.

        As for tcpdump ``len`` in an expression is the real length, and what would have to be read
        beyond the captured bytes makes a packet not match.
        """
        return self._run(self._address, data, wire_len, len(data)) != 0

    def __reduce__(self) -> tuple[type["OfflineFilter"], tuple[str]]:
        return OfflineFilter, (self.expression,)

    def __repr__(self) -> str:
        return f"OfflineFilter({self.expression!r})"


def _compile(expression: str) -> "ctypes.Array[InstructionStruct]":
    """Return the program, in memory of Python's: it is freed with the array."""
    compilation = packet.Compilation(expression, LinkType.ETHERNET)
    compilation.start()
    compilation.join(packet.MAX_SECONDS)
    try:
        program = compilation.result()
    except CompileError as error:
        raise packet.refusal(packet.one_line(error)) from None
    return (InstructionStruct * len(program))(*(InstructionStruct(*each) for each in program))


@cache
def _interpreter() -> Callable[[int, bytes, int, int], int]:
    """Return ``bpf_filter(program, packet, wire length, captured length)``, 0 for no match.

    It is what pcap_offline_filter(3PCAP) calls with the members of its two structs. It takes less
    time than letting other threads run meanwhile, so they do not (PYFUNCTYPE).
    """
    prototype = ctypes.PYFUNCTYPE(c_uint32, c_void_p, c_char_p, c_uint32, c_uint32)
    return prototype(("bpf_filter", library()))
