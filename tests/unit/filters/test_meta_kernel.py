"""Metadata filters in this kernel: they compile with BCC, the verifier takes them, they are right.

The sk_buff is made on the program's stack; its _nfct leads to the running task, of which much is
known without BPF.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import pytest

from lab.capabilities import require
from retis_py.collect.loader import Loader, ProgramType
from retis_py.expressions import MAX_LENGTH, MAX_TERMS
from retis_py.filters.meta import compile_meta_filter
from retis_py.kernel.btf import Btf
from unit.collect.running import Runner, compile_text
from unit.filters.made_types import VIA, made_types

TASK = "sk_buff._nfct:~0x7:task_struct"
NET = f"{TASK}.nsproxy.net_ns"

# Members that programs set from their arguments, in that order.
SET = ("mark", "len", "priority")

PROGRAM = """
int NAME(struct bpf_raw_tracepoint_args *ctx)
{{
	u32 skb[{words}] = {{}};
	u64 task = bpf_get_current_task() | ctx->args[3];
{sets}
	skb[{nfct}] = task;
	skb[{nfct} + 1] = task >> 32;
	return NAME_meta_filter((void *)skb);
}}
"""


@pytest.fixture(scope="module")
def btfs() -> list[Btf]:
    require("btf")
    require("root")
    return made_types(Btf.vmlinux())


@contextmanager
def loaded(expressions: list[str], btfs: list[Btf]) -> Iterator[dict[str, Runner]]:
    """Load a program for each expression; run it with the members in SET and _nfct's low bits."""
    members = btfs[0].struct("sk_buff")
    assert members is not None
    sets = [f"\tskb[{members[m].bit_offset // 32}] = ctx->args[{i}];" for i, m in enumerate(SET)]
    program = PROGRAM.format(words=64, sets="\n".join(sets), nfct=members["_nfct"].bit_offset // 32)
    text = "#include <linux/types.h>\n#include <bcc/helpers.h>\nstruct sk_buff;\n"
    names = [f"run_{i}" for i in range(len(expressions))]
    for name, expression in zip(names, expressions, strict=True):
        text += compile_meta_filter(expression, btfs).replace("meta_", f"{name}_meta_")
        text += program.replace("NAME", name)
    with Loader(compile_text(text, names), {}) as loader:
        yield {
            expression: Runner(loader.load(name, ProgramType.RAW_TRACEPOINT))
            for expression, name in zip(expressions, names, strict=True)
        }


def test_the_running_task(btfs: list[Btf]) -> None:
    comm = Path("/proc/thread-self/comm").read_text().rstrip("\n")
    release = os.uname().release
    inum = Path("/proc/self/ns/net").stat().st_ino
    expected = {
        f"{TASK}.tgid == {os.getpid()}": True,
        f"{TASK}.tgid != {os.getpid()}": False,
        f"{TASK}.tgid < 0": False,
        f"{TASK}.group_leader.pid == {os.getpid()} and {TASK}.pid > -1": True,
        f"{TASK}.comm == '{comm}'": True,
        f"{TASK}.comm != '{comm}'": False,
        f"{TASK}.comm == '{comm[:-1]}' || {TASK}.comm == '{comm}x'": False,
        f"{TASK}.nsproxy.uts_ns.name.release == '{release}'": True,
        f"{TASK}.nsproxy.uts_ns.name.release == '{release[:-1]}'": False,
        f"{NET}.ns.inum == {inum}": True,
        f"{NET}.ns.inum:0xff == {inum & 0xFF:#x} && {NET}.ns.inum:~0xff == {inum & ~0xFF}": True,
        f"{NET}.loopback_dev.ifindex == 1 and {NET}.loopback_dev.name == 'lo'": True,
        f"{NET}.loopback_dev.flags:0b1000": True,  # IFF_LOOPBACK
        f"{NET}.loopback_dev.flags:0b10": False,  # IFF_BROADCAST
        f"{NET}.loopback_dev.dev.kobj.name == 'lo'": True,  # a pointer
        f"{NET}.loopback_dev.dev.kobj.name != 'lo'": False,
        f"{NET}.loopback_dev.dev.kobj.name == 'l'": False,
        f"{NET}.loopback_dev.dev.kobj.name == 'lol'": False,
        f"{NET}.loopback_dev.dev.kobj.name != 'l'": True,
        "sk_buff._nfct:0x7 == 5": True,
        # NULL, and what cannot be read: false whatever the operator.
        "sk_buff.dev.ifindex != 1": False,
        "sk_buff.dev.name != 'lo'": False,
        "sk_buff.dev == 0": True,
        f"{TASK}.comm == 'x' || sk_buff.mark:~0xf == 0x1230": True,
        "sk_buff.len:~0x0 >= 0xffffffff": True,
    }
    with loaded(list(expected), btfs) as runners:
        found = {text: bool(run(0x1234, 0xFFFFFFFF, 0, 5)) for text, run in runners.items()}
    assert found == expected


def test_and_and_or_bind_equally(btfs: list[Btf]) -> None:
    a, b, c = (f"sk_buff.{name}" for name in SET)
    cases = {
        f"{a} && {b} || {c}": lambda a, b, c: (a and b) or c,
        f"{a} || {b} && {c}": lambda a, b, c: (a or b) and c,
        f"{a} or ({b} and {c})": lambda a, b, c: a or (b and c),
        f"({a} or {b}) and {c}": lambda a, b, c: (a or b) and c,
        f"({a} && {b}) or {c} and ({a} or {b})": lambda a, b, c: ((a and b) or c) and (a or b),
        f"{a} || {b} || {c} && {a} && {b} || {c}": lambda a, b, c: ((a or b or c) and a and b) or c,
    }
    with loaded(list(cases), btfs) as runners:
        for text, evaluate in cases.items():
            for values in product((0, 1), repeat=3):
                assert runners[text](*values) == evaluate(*values), (text, values)


def test_large_expressions_are_accepted(btfs: list[Btf]) -> None:
    text = f"sk_buff.dev.dev.init_name != '{'x' * 62}'"
    texts = " || ".join([text] * 30)
    joiners = ("&&", "||")
    mixed = "sk_buff.mark == 1"
    for i in range(MAX_TERMS - 1):
        mixed += f" {joiners[i % 2]} sk_buff.dev.nd_net.net.ns.inum:{i + 1} == {i + 1}"
    ands = " && ".join(f"(sk_buff.len == {i} or {VIA}.sb13 == {i})" for i in range(30))
    numbers = " or ".join(f"sk_buff.mark == {i}" for i in range(30))
    chain = f"sk_buff.dev{'.nd_net.net.loopback_dev' * 60}.ifindex == 1"
    cases = [texts, mixed, ands, numbers, chain]
    assert all(len(case) <= MAX_LENGTH for case in cases)
    with loaded(cases, btfs) as runners:
        assert [runners[case](29, 7) for case in cases] == [0, 0, 0, 1, 0]
        assert runners[numbers](30) == 0
