"""BPF maps: made, read and written in this process, through libbpf."""

import ctypes
import errno
import os
from collections.abc import Iterator
from enum import IntEnum

from retis_py.collect.compiled import MapDefinition
from retis_py.errors import MissingPrerequisite, RetisError
from retis_py.kernel import libbpf
from retis_py.kernel.libbpf import check

_BATCH = 4096  # entries
_BATCH_SIZE = 1 << 20  # bytes
_BPF_EXIST_OR_NOT = 0  # BPF_ANY


class MapType(IntEnum):
    """``enum bpf_map_type``, those that differ in how they are made or read."""

    HASH = 1
    PERF_EVENT_ARRAY = 4
    PERCPU_ARRAY = 6
    RINGBUF = 27


class Map:
    """A BPF map of this process; keys and values are bytes."""

    def __init__(self, definition: MapDefinition, fd: int) -> None:
        self.definition = definition
        self.fd = fd
        self._lib = libbpf.library()

    def items(self, value_size: int | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Yield all entries; ``value_size`` where the kernel's view of a value is larger."""
        key = ctypes.create_string_buffer(self.definition.key_size)
        value = ctypes.create_string_buffer(value_size or self.definition.value_size)
        previous = None
        while self._lib.bpf_map_get_next_key(self.fd, previous, key) == 0:
            if self._lib.bpf_map_lookup_elem(self.fd, key, value) == 0:
                yield key.raw, value.raw
            previous = key

    def entries(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield all entries of a hash, some thousand with each system call (Linux 5.6 on)."""
        key_size, value_size = self.definition.key_size, self.definition.value_size
        most = min(_BATCH, _BATCH_SIZE // value_size)
        keys = ctypes.create_string_buffer(key_size * most)
        values = ctypes.create_string_buffer(value_size * most)
        position = ctypes.create_string_buffer(max(key_size, 4))
        start, result = None, 0
        while result == 0:
            count = ctypes.c_uint32(most)
            result = self._lib.bpf_map_lookup_batch(
                self.fd, start, position, keys, values, ctypes.byref(count), None
            )
            if result not in (0, -errno.ENOENT):
                yield from self.items()
                return
            start = position
            all_keys, all_values = keys.raw, values.raw
            for i in range(count.value):
                yield (
                    all_keys[i * key_size : (i + 1) * key_size],
                    all_values[i * value_size : (i + 1) * value_size],
                )

    @property
    def readable(self) -> bool:
        """Whether the kernel lets us look into it: before Linux 5.19 that may take CAP_BPF."""
        key = ctypes.create_string_buffer(self.definition.key_size)
        return self._lib.bpf_map_get_next_key(self.fd, None, key) not in (
            -errno.EPERM,
            -errno.EACCES,
        )

    def delete(self, key: bytes) -> bool:
        """Remove an entry; return whether it was there."""
        return bool(self._lib.bpf_map_delete_elem(self.fd, key) == 0)

    def update(self, key: bytes, value: bytes) -> None:
        """Set an entry."""
        result = self._lib.bpf_map_update_elem(self.fd, key, value, _BPF_EXIST_OR_NOT)
        check(result, self.definition.name)


def make_map(definition: MapDefinition, entries: int) -> Map:
    """Make a map, which its descriptor holds, with so many entries (a ring: bytes).

    Raises:
        MissingPrerequisite: the kernel does not let us.
        RetisError: there is no memory for it, or the kernel refuses it.
    """
    options = libbpf.MapCreateOpts(
        sz=ctypes.sizeof(libbpf.MapCreateOpts), map_flags=definition.flags
    )
    fd: int = libbpf.library().bpf_map_create(
        definition.type,
        definition.name[:15].encode(),
        definition.key_size,
        definition.value_size,
        entries,
        ctypes.byref(options),
    )
    if fd in (-errno.EPERM, -errno.EACCES):
        raise MissingPrerequisite(
            "the kernel does not let this user make BPF maps: run as root (or with CAP_BPF)"
        )
    if fd == -errno.ENOMEM:
        raise RetisError(
            f"not enough memory for the map '{definition.name}' with {entries:,} entries:"
            " choose a smaller --buffer-size"
        )
    if fd < 0:
        raise RetisError(
            f"the kernel refuses the map '{definition.name}' with {entries:,} entries"
            f" ({os.strerror(-fd)}): please report this with its version"
        )
    return Map(definition, fd)
