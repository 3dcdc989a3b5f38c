"""libpcap through ctypes: a pcap-filter expression to classic BPF.

The library is the one that the distribution's tcpdump uses, so that an expression means here what
it means there. Of the Python bindings only pcapy-ng hands out instructions, and it reads libpcap's
error text from a handle that it has closed already.
"""

import ctypes
import os
from ctypes import POINTER, byref, c_char_p, c_int, c_uint8, c_uint16, c_uint32, c_void_p
from enum import IntEnum
from functools import cache
from typing import NamedTuple

from retis_py.errors import MissingPrerequisite

LIBRARIES = ("libpcap.so.0.8", "libpcap.so.1")
"""Debian's name for it and everybody else's."""

_SNAPLEN = 262_144  # tcpdump's; only what an accepting `ret` returns
_NETMASK_UNKNOWN = 0xFFFFFFFF  # PCAP_NETMASK_UNKNOWN: 'ip broadcast' is an error


class LinkType(IntEnum):
    """What a packet starts with (DLT_* of pcap/dlt.h)."""

    ETHERNET = 1  # DLT_EN10MB
    RAW_IP = 12  # DLT_RAW: the IPv4 or IPv6 header


class Instruction(NamedTuple):
    """``struct bpf_insn``: opcode, jumps if true and if false, operand."""

    code: int
    jt: int
    jf: int
    k: int


class CompileError(ValueError):
    """libpcap refuses the expression; the message is its own."""


class InstructionStruct(ctypes.Structure):
    """An ``Instruction`` in memory, as libpcap has it."""

    _fields_ = (("code", c_uint16), ("jt", c_uint8), ("jf", c_uint8), ("k", c_uint32))


class _Program(ctypes.Structure):
    """``struct bpf_program``."""

    _fields_ = (("length", c_uint32), ("instructions", POINTER(InstructionStruct)))


def compile_expression(expression: str, link_type: LinkType) -> list[Instruction]:
    """Compile for packets of that link type, optimised, the network's mask unknown.

    Names of hosts and networks are looked up, which may take as long as the resolver does.

    Raises:
        CompileError: libpcap refuses it.
        MissingPrerequisite: libpcap is not installed.
    """
    lib = library()
    handle = lib.pcap_open_dead(link_type, _SNAPLEN)
    if not handle:
        raise MemoryError("pcap_open_dead")
    program = _Program()
    try:
        text = os.fsencode(expression)
        if lib.pcap_compile(handle, byref(program), text, 1, _NETMASK_UNKNOWN):
            raise CompileError(lib.pcap_geterr(handle).decode(errors="replace"))
        instructions = program.instructions[: program.length]
        return [Instruction(i.code, i.jt, i.jf, i.k) for i in instructions]
    finally:
        lib.pcap_freecode(byref(program))
        lib.pcap_close(handle)


@cache
def library() -> ctypes.CDLL:
    """Load libpcap, once. Raises MissingPrerequisite where it is not installed."""
    lib = _open()
    lib.pcap_open_dead.restype, lib.pcap_open_dead.argtypes = c_void_p, (c_int, c_int)
    lib.pcap_compile.restype = c_int
    lib.pcap_compile.argtypes = (c_void_p, POINTER(_Program), c_char_p, c_int, c_uint32)
    lib.pcap_geterr.restype, lib.pcap_geterr.argtypes = c_char_p, (c_void_p,)
    lib.pcap_freecode.restype, lib.pcap_freecode.argtypes = None, (POINTER(_Program),)
    lib.pcap_close.restype, lib.pcap_close.argtypes = None, (c_void_p,)
    return lib


def _open() -> ctypes.CDLL:
    for name in LIBRARIES:
        try:
            return ctypes.CDLL(name)
        except OSError as error:
            reason = error
    raise MissingPrerequisite(
        f"packet filters need libpcap ({reason}): install it (Debian: apt-get install libpcap0.8)"
    )
