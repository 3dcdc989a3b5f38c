"""libbpf.so.1 through ctypes: the calls that retis uses, with their types, and nothing more.

The library comes with the distribution's BCC (Debian: ``libbpf1``). The structs are those of
libbpf's ``bpf.h`` (version 1.0 on); each starts with its own size, so that an older or newer
library knows which members the caller has.
"""

import ctypes
import os
from ctypes import POINTER, c_char_p, c_int, c_int32, c_size_t, c_uint32, c_uint64, c_void_p
from functools import cache

from retis_py.errors import MissingPrerequisite

LIBRARY = "libbpf.so.1"


class MapCreateOpts(ctypes.Structure):
    """``struct bpf_map_create_opts``."""

    _fields_ = (
        ("sz", c_size_t),
        ("btf_fd", c_uint32),
        ("btf_key_type_id", c_uint32),
        ("btf_value_type_id", c_uint32),
        ("btf_vmlinux_value_type_id", c_uint32),
        ("inner_map_fd", c_uint32),
        ("map_flags", c_uint32),
        ("map_extra", c_uint64),
        ("numa_node", c_uint32),
        ("map_ifindex", c_uint32),
    )


class ProgLoadOpts(ctypes.Structure):
    """``struct bpf_prog_load_opts``."""

    _fields_ = (
        ("sz", c_size_t),
        ("attempts", c_int),
        ("expected_attach_type", c_uint32),
        ("prog_btf_fd", c_uint32),
        ("prog_flags", c_uint32),
        ("prog_ifindex", c_uint32),
        ("kern_version", c_uint32),
        ("attach_btf_id", c_uint32),
        ("attach_prog_fd", c_uint32),
        ("attach_btf_obj_fd", c_uint32),
        ("fd_array", c_void_p),
        ("func_info", c_void_p),
        ("func_info_cnt", c_uint32),
        ("func_info_rec_size", c_uint32),
        ("line_info", c_void_p),
        ("line_info_cnt", c_uint32),
        ("line_info_rec_size", c_uint32),
        ("log_level", c_uint32),
        ("log_size", c_uint32),
        ("log_buf", c_char_p),
    )


class KprobeMultiOpts(ctypes.Structure):
    """The ``kprobe_multi`` part of ``struct bpf_link_create_opts``."""

    _fields_ = (
        ("flags", c_uint32),
        ("cnt", c_uint32),
        ("syms", c_void_p),
        ("addrs", POINTER(c_uint64)),
        ("cookies", c_void_p),
    )


class LinkCreateOpts(ctypes.Structure):
    """``struct bpf_link_create_opts``, its union with the one member that is used."""

    _fields_ = (
        ("sz", c_size_t),
        ("flags", c_uint32),
        ("iter_info", c_void_p),
        ("iter_info_len", c_uint32),
        ("target_btf_id", c_uint32),
        ("kprobe_multi", KprobeMultiOpts),
    )


_PROTOTYPES: dict[str, tuple[object, tuple[object, ...]]] = {
    "btf__load_vmlinux_btf": (c_void_p, ()),
    "btf__load_module_btf": (c_void_p, (c_char_p, c_void_p)),
    "btf__free": (None, (c_void_p,)),
    "btf__type_cnt": (c_uint32, (c_void_p,)),
    "btf__type_by_id": (c_void_p, (c_void_p, c_uint32)),
    "btf__name_by_offset": (c_char_p, (c_void_p, c_uint32)),
    "btf__find_by_name_kind": (c_int32, (c_void_p, c_char_p, c_uint32)),
    "btf__resolve_size": (ctypes.c_int64, (c_void_p, c_uint32)),
    "btf__raw_data": (c_void_p, (c_void_p, POINTER(c_uint32))),
    "bpf_map_create": (
        c_int,
        (c_uint32, c_char_p, c_uint32, c_uint32, c_uint32, POINTER(MapCreateOpts)),
    ),
    "bpf_map_lookup_elem": (c_int, (c_int, c_void_p, c_void_p)),
    "bpf_map_update_elem": (c_int, (c_int, c_void_p, c_void_p, c_uint64)),
    "bpf_map_delete_elem": (c_int, (c_int, c_void_p)),
    "bpf_map_get_next_key": (c_int, (c_int, c_void_p, c_void_p)),
    "bpf_map_lookup_batch": (
        c_int,
        (c_int, c_void_p, c_void_p, c_void_p, c_void_p, POINTER(c_uint32), c_void_p),
    ),
    "bpf_prog_load": (
        c_int,
        (c_uint32, c_char_p, c_char_p, c_void_p, c_size_t, POINTER(ProgLoadOpts)),
    ),
    "bpf_raw_tracepoint_open": (c_int, (c_char_p, c_int)),
    "bpf_link_create": (c_int, (c_int, c_int, c_uint32, POINTER(LinkCreateOpts))),
    "bpf_obj_get_info_by_fd": (c_int, (c_int, c_void_p, POINTER(c_uint32))),
    "libbpf_set_print": (c_void_p, (c_void_p,)),
    "libbpf_version_string": (c_char_p, ()),
}


@cache
def library() -> ctypes.CDLL:
    """Load libbpf.

    Raises:
        MissingPrerequisite: it is not installed.
    """
    try:
        lib = ctypes.CDLL(LIBRARY, use_errno=True)
    except OSError as error:
        raise MissingPrerequisite(
            f"cannot load {LIBRARY} ({error}): install it (Debian: apt-get install libbpf1)"
        ) from error
    for name, (result, arguments) in _PROTOTYPES.items():
        function = getattr(lib, name)
        function.restype = result
        function.argtypes = arguments
    lib.libbpf_set_print(None)  # it would write to standard error on its own
    return lib


def check(result: int, what: str) -> int:
    """Return ``result`` of a libbpf call, or raise the OSError that it stands for."""
    if result < 0:
        # libbpf 1.0 returns -errno and sets errno; only the former is there for every call.
        raise OSError(-result, os.strerror(-result), what)
    return result
