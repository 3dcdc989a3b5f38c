"""The kernel's structs as the program sees them: a C compiler agrees with BTF."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retis_py.collect.structs import define_structs, extract_declarations
from retis_py.kernel.btf import Btf, Kind
from retis_py.probes.available import Types
from retis_py.resources import bpf_dir
from unit.collect.c_layout import measure, run_c

# What gcc needs to read the functions made for bit-fields.
HELPER = (
    "static long bpf_probe_read_kernel(void *to, u32 size, const void *from)"
    " { __builtin_memcpy(to, from, size); return 0; }\n"
)
POPULAR = [
    "sk_buff",
    "net_device",
    "sock",
    "net",
    "skb_shared_info",
    "task_struct",
    "nf_hook_state",
]


def declared() -> dict[str, set[str]]:
    """What all pieces of the program ask for."""
    wanted: dict[str, set[str]] = {}
    for path in sorted(bpf_dir().rglob("*.[ch]")):
        extract_declarations(path.read_text(), wanted)
    return wanted


def offset(btf: Btf, struct: str, path: str) -> tuple[int, int] | None:
    """Where BTF has a member, in bytes, and its size; None for none and for bit-fields."""
    where, members, size = 0, btf.struct(struct), 0
    for part in path.split("."):
        member = (members or {}).get(part)
        if member is None or member.bit_size:
            return None
        where, size = where + member.bit_offset // 8, btf.size(member.type_id)
        inner = btf.strip(member.type_id)
        kind = btf.type(inner).kind
        members = (
            {m.name: m for m in btf.members(inner)} if kind in (Kind.STRUCT, Kind.UNION) else None
        )
    return where, size


def check(btf: Btf, wanted: dict[str, set[str]], folder: Path) -> int:
    expected = {
        (struct, path): found
        for struct, paths in wanted.items()
        for path in paths
        if (found := offset(btf, struct, path)) is not None
    }
    asked: dict[str, list[str]] = {}
    for struct, path in expected:
        asked.setdefault(struct, []).append(path)
    measured = measure(HELPER + define_structs([btf], wanted), asked, folder)
    for (struct, path), where in expected.items():
        assert measured[struct][1][path] == where, f"{struct}.{path}"
    return len(expected)


def test_the_programs_structs(types: Types, tmp_path: Path) -> None:
    wanted = declared()
    assert {"sk_buff", "net_device", "net", "sock", "skb_shared_info"} <= wanted.keys()
    assert check(types.vmlinux, wanted, tmp_path) > 20


@settings(max_examples=4, deadline=None)
@given(st.data())
def test_any_members(
    types: Types, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    btf = types.vmlinux
    wanted = {}
    for struct in POPULAR:
        members = sorted(btf.struct(struct) or {})
        if members:
            chosen = data.draw(st.lists(st.sampled_from(members), min_size=1, max_size=25))
            wanted[struct] = set(chosen)
    check(btf, wanted, tmp_path_factory.mktemp("c"))


def test_every_member_of_sk_buff(types: Types, tmp_path: Path) -> None:
    btf = types.vmlinux
    assert check(btf, {"sk_buff": set(btf.struct("sk_buff") or ())}, tmp_path) > 40


def test_bit_fields(types: Types, tmp_path: Path) -> None:
    """Each is read out of memory in which only its own bits are set, and out of the opposite."""
    btf = types.vmlinux
    fields = {m.name: m for m in (btf.struct("sk_buff") or {}).values() if m.bit_size}
    assert {"cloned", "ip_summed", "nohdr", "fclone"} <= fields.keys()
    definitions = HELPER + define_structs([btf], {"sk_buff": set(fields)})
    lines = [
        f"memset(b, 0, sizeof b);"
        f" for (int i = {f.bit_offset}; i < {f.bit_offset + f.bit_size}; i++)"
        f" b[i / 8] |= 1 << i % 8;"
        f" on = READ_sk_buff__{name}((void *)b);"
        f" for (int i = 0; i < sizeof b; i++) b[i] = ~b[i];"
        f' printf("%llu %llu\\n", on, (u64)READ_sk_buff__{name}((void *)b));'
        for name, f in fields.items()
    ]
    body = "\n".join(lines)
    main = f"int main(void) {{ unsigned char b[1024]; u64 on;\n{body}\nreturn 0; }}\n"
    assert run_c(definitions + main, tmp_path) == [
        f"{(1 << f.bit_size) - 1} 0" for f in fields.values()
    ]


def test_absent_members_and_structs(types: Types) -> None:
    text = define_structs(
        [types.vmlinux],
        {
            "sk_buff": {"len", "no_such", "users.no_such", "len.inner"},
            "no_such_struct": {"a.b", "c"},
        },
    )
    macros = sorted(re.findall(r"#define (\S+) 1\n", text))
    assert macros == [
        "NO_no_such_struct",
        "NO_no_such_struct__a__b",
        "NO_no_such_struct__c",
        "NO_sk_buff__len__inner",
        "NO_sk_buff__no_such",
        "NO_sk_buff__users__no_such",
    ]
    assert "struct no_such_struct;\n" in text


def test_extract_declarations() -> None:
    wanted: dict[str, set[str]] = {"sk_buff": {"len"}}
    text = extract_declarations(
        "/* one */\nKERNEL_STRUCT(sk_buff, dev,\n\t      users.refs.counter);\n"
        "KERNEL_STRUCT(net, ns.inum);\nint x;\n",
        wanted,
    )
    assert text == "/* one */\n\n\n\nint x;\n"  # lines keep their numbers
    assert wanted == {"sk_buff": {"len", "dev", "users.refs.counter"}, "net": {"ns.inum"}}


def test_every_declaration_is_found() -> None:
    """One with a mistake in it would stay in the text and fail to compile far from its cause."""
    for path in bpf_dir().rglob("*.[ch]"):
        left = extract_declarations(path.read_text(), {})
        assert not re.search(r"^KERNEL_STRUCT", left, re.MULTILINE), path


def test_every_kernel_member_that_is_read_is_declared() -> None:
    """By the piece itself: otherwise it compiles only beside another that declares it."""
    for path in bpf_dir().rglob("*.[ch]"):
        wanted: dict[str, set[str]] = {}
        text = extract_declarations(re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.S), wanted)
        names = {m for members in wanted.values() for m in members}
        for expression in re.findall(r"READ\((?:c->)?(?:\w+|shared_info\(\w+\))->([\w.]+)\)", text):
            assert expression in names, f"{path}: {expression}"
        for struct, member in re.findall(r"READ_(\w+?)__(\w+)\(", text):
            assert member.replace("__", ".") in wanted.get(struct, set()), f"{path}: {member}"
