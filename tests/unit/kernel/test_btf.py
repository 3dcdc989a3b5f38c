"""This kernel's types, as libbpf reads them and as bpftool does."""

import ctypes
import random
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from lab.capabilities import require
from retis_py.errors import MissingPrerequisite
from retis_py.kernel import libbpf
from retis_py.kernel.btf import Argument, Btf, Kind

Raw = dict[str, Any]
SAMPLE = 400  # types of a kind that are compared


@pytest.fixture(scope="module")
def btf() -> Btf:
    require("btf")
    return Btf.vmlinux()


@pytest.fixture(scope="module")
def dump() -> list[Raw]:
    """All types by their ids, as bpftool has them."""
    require("btf")
    if shutil.which("bpftool") is None:
        pytest.skip("no bpftool (Debian: apt-get install bpftool)")
    command = ["bpftool", "-j", "btf", "dump", "file", "/sys/kernel/btf/vmlinux", "format", "raw"]
    output = subprocess.run(command, check=True, capture_output=True).stdout
    types: list[Raw] = msgspec.json.decode(output)["types"]
    assert [t["id"] for t in types[:3]] == [1, 2, 3]
    return [{"id": 0, "kind": "VOID", "name": "void"}, *types]


def sample(dump: list[Raw], *kinds: str) -> list[Raw]:
    found = [t for t in dump if t["kind"] in kinds]
    return random.Random(1).sample(found, min(SAMPLE, len(found)))  # noqa: S311 (the same each time)


def name(raw: Raw) -> str:
    return "" if raw["name"] == "(anon)" else str(raw["name"])


def test_types(btf: Btf, dump: list[Raw]) -> None:
    kinds = sorted({t["kind"] for t in dump} - {"VOID"})
    assert {"STRUCT", "ENUM64", "FUNC_PROTO", "PTR", "INT", "FWD"} <= set(kinds)
    for kind in kinds:
        for raw in sample(dump, kind)[:100]:
            t = btf.type(raw["id"])
            assert (t.kind.name, t.name) == (raw["kind"], name(raw))
            if "vlen" in raw:
                assert t.vlen == raw["vlen"]
            if kind != "ARRAY":  # whose element type follows it
                assert t.ref == raw.get("type_id", raw.get("size", raw.get("ret_type_id", 0)))


def test_members(btf: Btf, dump: list[Raw]) -> None:
    def flat(raw: Raw, base: int = 0) -> Iterator[tuple[str, int, int, int]]:
        for m in raw["members"]:
            where = base + m["bits_offset"]
            if name(m):
                yield name(m), m["type_id"], where, m.get("bitfield_size", 0)
                continue
            inner = dump[m["type_id"]]
            while inner["kind"] in ("TYPEDEF", "CONST", "VOLATILE"):
                inner = dump[inner["type_id"]]
            if inner["kind"] in ("STRUCT", "UNION"):
                yield from flat(inner, where)

    bitfields = anonymous = 0
    for raw in [t for t in dump if name(t) == "sk_buff"] + sample(dump, "STRUCT", "UNION"):
        if raw["kind"] not in ("STRUCT", "UNION"):
            continue
        found = [(m.name, m.type_id, m.bit_offset, m.bit_size) for m in btf.members(raw["id"])]
        assert found == list(flat(raw)), raw["name"]
        bitfields += sum(m[3] > 0 for m in found)
        anonymous += sum(not name(m) for m in raw["members"])
    assert bitfields > 20
    assert anonymous > 20


def test_struct_by_name(btf: Btf, dump: list[Raw]) -> None:
    names = Counter(name(t) for t in dump)
    for raw in sample(dump, "STRUCT"):
        if not name(raw) or names[name(raw)] > 1:
            continue  # of several with one name BTF's first counts
        members = btf.struct(name(raw))
        assert members == {m.name: m for m in btf.members(raw["id"])}
    assert btf.struct("no_such_struct") is None


def test_sk_buff(btf: Btf) -> None:
    members = btf.struct("sk_buff")
    assert members is not None
    assert members["dev"].bit_offset == 128  # behind next and prev, in two anonymous unions
    assert members["cloned"].bit_size == 1
    assert members["fclone"].bit_size == 2
    assert members["len"].bit_size == 0
    assert btf.size(members["len"].type_id) == 4
    assert btf.describe(members["dev"].type_id) == "struct net_device *"
    assert members["head"].bit_offset % 64 == 0


def test_typedef_and_union_count_as_structs(btf: Btf) -> None:
    assert btf.struct("possible_net_t") == {
        "net": next(iter(btf.struct("possible_net_t").values()))
    }  # type: ignore[union-attr]
    assert "counter" in (btf.struct("atomic_t") or {})


def test_enums(btf: Btf, dump: list[Raw]) -> None:
    enums = [t for t in dump if t["kind"] in ("ENUM", "ENUM64")]
    names = Counter(map(name, enums))
    signed = 0
    for raw in enums:
        if not name(raw) or names[name(raw)] > 1:
            continue
        # bpftool 7.1 extends the sign of 32-bit values in JSON, whatever the encoding.
        mask = 0xFFFFFFFF if (raw["encoding"], raw["kind"]) == ("UNSIGNED", "ENUM") else -1
        values = {v["name"]: v["val"] & mask for v in raw["values"]}
        assert btf.enum(name(raw)) == values, raw["name"]
        signed += any(v < 0 for v in values.values())
    assert signed > 5
    assert btf.enum("no_such_enum") is None


def test_64_bit_enums(btf: Btf, dump: list[Raw]) -> None:
    found = [t for t in dump if t["kind"] == "ENUM64" and name(t)]
    for raw in found:
        assert btf.enum(name(raw)) == {v["name"]: v["val"] for v in raw["values"]}
    assert any(v["val"] >= 1 << 32 for raw in found for v in raw["values"])


def made_up(build: Callable[[ctypes.CDLL, int], None]) -> Btf:
    """Types of our own, made with libbpf, for what this kernel has none of."""
    lib = ctypes.CDLL(libbpf.LIBRARY)
    lib.btf__new_empty.restype = ctypes.c_void_p
    handle = lib.btf__new_empty()
    build(lib, handle)
    return Btf(handle)


def test_signed_64_bit_enum() -> None:
    def build(lib: ctypes.CDLL, handle: int) -> None:
        btf = ctypes.c_void_p(handle)
        signed = ctypes.c_bool(True)
        assert lib.btf__add_enum64(btf, b"wide", 8, signed) > 0
        for label, value in ((b"LOW", -(1 << 40)), (b"MINUS", -1), (b"HIGH", 1 << 40)):
            assert lib.btf__add_enum64_value(btf, label, ctypes.c_uint64(value)) == 0

    assert made_up(build).enum("wide") == {"LOW": -(1 << 40), "MINUS": -1, "HIGH": 1 << 40}


def test_forward_union() -> None:
    def build(lib: ctypes.CDLL, handle: int) -> None:
        btf = ctypes.c_void_p(handle)
        assert lib.btf__add_fwd(btf, b"u", 1) == 1  # BTF_FWD_UNION
        assert lib.btf__add_ptr(btf, 1) == 2
        assert lib.btf__add_fwd(btf, b"s", 0) == 3
        assert lib.btf__add_ptr(btf, 3) == 4

    btf = made_up(build)
    assert (btf.describe(2), btf.describe(4)) == ("union u *", "struct s *")


def test_sizes(btf: Btf, dump: list[Raw]) -> None:
    for raw in sample(dump, "INT", "STRUCT", "UNION", "ENUM"):
        assert btf.size(raw["id"]) == raw["size"]
    for raw in sample(dump, "PTR"):
        assert btf.size(raw["id"]) == 8
    for raw in sample(dump, "ARRAY"):
        assert btf.array(btf.type(raw["id"])) == (raw["type_id"], raw["nr_elems"])


def test_signs(btf: Btf, dump: list[Raw]) -> None:
    integers = sample(dump, "INT")
    for raw in integers:
        assert btf.is_signed(raw["id"]) == (raw["encoding"] == "SIGNED"), raw["name"]
    assert len(integers) > 10


def test_strip(btf: Btf, dump: list[Raw]) -> None:
    for raw in sample(dump, "TYPEDEF", "CONST", "VOLATILE"):
        target = raw
        while target["kind"] in ("TYPEDEF", "CONST", "VOLATILE", "RESTRICT", "TYPE_TAG"):
            target = dump[target["type_id"]]
        assert btf.strip(raw["id"]) == target["id"]


def test_functions(btf: Btf, dump: list[Raw]) -> None:
    first = {name(t): t for t in reversed(dump) if t["kind"] == "FUNC"}
    for raw in sample(dump, "FUNC"):
        prototype = dump[first[name(raw)]["type_id"]]
        arguments = btf.function(name(raw))
        assert arguments is not None
        assert [a.name for a in arguments] == [name(p) for p in prototype["params"]]
        assert [a.type for a in arguments] == [
            btf.describe(p["type_id"]) for p in prototype["params"]
        ]
    assert btf.function("no_such_function") is None
    assert btf.functions.keys() == first.keys()


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("ip_rcv", [("skb", "struct sk_buff *"), ("dev", "struct net_device *"),
                    ("pt", "struct packet_type *"), ("orig_dev", "struct net_device *")]),
        ("eth_type_trans", [("skb", "struct sk_buff *"), ("dev", "struct net_device *")]),
        ("strlen", [("s", "char *")]),
    ],
)  # fmt: skip
def test_arguments(btf: Btf, function: str, arguments: list[tuple[str, str]]) -> None:
    found = btf.function(function)
    assert found == [Argument(*each) for each in arguments]
    assert btf.arguments_of(btf.functions[function]) == found


def test_tracepoints(btf: Btf, dump: list[Raw]) -> None:
    reason = btf.tracepoint("kfree_skb")
    assert reason is not None
    # Prototypes behind pointers have no names.
    assert reason[0] == Argument("", "struct sk_buff *")
    assert Argument("", "enum skb_drop_reason") in reason
    assert btf.tracepoint("netif_receive_skb") == [Argument("", "struct sk_buff *")]
    assert btf.tracepoint("no_such_tracepoint") is None
    assert btf.tracepoint("") is None
    traces = [t for t in dump if t["kind"] == "TYPEDEF" and name(t).startswith("btf_trace_")]
    for raw in traces[:SAMPLE]:
        prototype = dump[dump[raw["type_id"]]["type_id"]]
        found = btf.tracepoint(name(raw).removeprefix("btf_trace_"))
        assert found is not None
        assert [a.name for a in found] == [name(p) for p in prototype["params"][1:]]
    assert len(traces) > 100


def test_descriptions(btf: Btf, dump: list[Raw]) -> None:
    """Qualifiers and typedefs go, stars and tags stay; any type can be described."""
    for raw in sample(dump, "PTR", "ARRAY", "TYPEDEF", "STRUCT", "INT", "FUNC_PROTO"):
        text = btf.describe(raw["id"])
        assert text
        assert "const " not in text
        target = dump[btf.strip(raw["id"])]
        if target["kind"] == "PTR":
            assert text.endswith("*")
            pointed = dump[btf.strip(target["type_id"])]
            if pointed["kind"] == "STRUCT" and name(pointed):
                assert text == f"struct {name(pointed)} *"
    assert btf.describe(0) == "void"


def test_a_module_that_is_not_loaded(btf: Btf) -> None:
    assert btf.module("no_such_module") is None
    assert btf.module("../../etc/passwd") is None


def test_no_btf_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        def btf__load_vmlinux_btf(self) -> None:
            ctypes.set_errno(2)

    monkeypatch.setattr(libbpf, "library", Library)
    with pytest.raises(MissingPrerequisite, match=r"ENOENT.*CONFIG_DEBUG_INFO_BTF"):
        Btf.vmlinux()


def test_kinds_are_those_of_the_kernel(btf: Btf) -> None:
    kinds = {n.removeprefix("BTF_KIND_"): v for n, v in _anonymous_enum(btf).items()}
    assert {k: v for k, v in kinds.items() if k in Kind.__members__} == {
        k.name: k.value for k in Kind
    }


def _anonymous_enum(btf: Btf) -> dict[str, int]:
    """The values of the anonymous enum that has BTF_KIND_INT (include/uapi/linux/btf.h)."""
    at = 1
    while True:
        t = btf.type(at)
        if t.kind is Kind.ENUM and not t.name:
            values = dict(btf._enumerators(t))
            if "BTF_KIND_INT" in values:
                return values
        at += 1
