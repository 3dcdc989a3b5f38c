"""Maps in this kernel, through libbpf."""

import errno
import struct

import pytest

from lab.capabilities import require
from retis_py.collect.compiled import Compiled, MapDefinition
from retis_py.collect.loader import Loader
from retis_py.collect.maps import MapType
from retis_py.errors import RetisError
from retis_py.probes.available import Types


@pytest.fixture(autouse=True)
def _root() -> None:
    require("root")


def test_map_items() -> None:
    definition = MapDefinition("numbers", MapType.HASH, 4, 8, 100, 0)
    with Loader(Compiled({}, [definition]), {}) as loader:
        numbers = loader.maps["numbers"]
        assert list(numbers.items()) == []
        expected = {struct.pack("=I", n): struct.pack("=Q", n * n) for n in range(50)}
        for key, value in expected.items():
            numbers.update(key, value)
        numbers.update(struct.pack("=I", 3), struct.pack("=Q", 1))
        assert dict(numbers.items()) == expected | {struct.pack("=I", 3): struct.pack("=Q", 1)}
        assert len(list(numbers.items())) == 50


def test_full_map() -> None:
    definition = MapDefinition("one", MapType.HASH, 4, 4, 1, 0)
    with Loader(Compiled({}, [definition]), {}) as loader:
        loader.maps["one"].update(b"aaaa", b"1111")
        with pytest.raises(OSError, match="one") as caught:
            loader.maps["one"].update(b"bbbb", b"2222")
        assert caught.value.errno == errno.E2BIG


@pytest.mark.usefixtures("open_descriptors")
def test_no_memory_for_a_map() -> None:
    definition = MapDefinition("events", MapType.HASH, 4, 1 << 20, 1, 0)
    with pytest.raises(RetisError, match=r"not enough memory .*'events' .*smaller --buffer-size"):
        Loader(Compiled({}, [definition]), {"events": 1 << 24})


def test_numbers_are_the_kernels(types: Types) -> None:
    maps = types.vmlinux.enum("bpf_map_type") or {}
    for kind in MapType:
        assert maps[f"BPF_MAP_TYPE_{kind.name}"] == kind
