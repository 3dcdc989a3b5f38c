"""The C of metadata filters, run over simulated memory, against an evaluation by Python."""

import subprocess
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from interop.meta_evaluation import (
    MEMORY_BASE,
    MEMORY_SIZE,
    Comparison,
    Joined,
    comparisons,
)
from interop.meta_expressions import expression, memory_for
from lab.capabilities import require
from retis_py.expressions import MAX_LENGTH, MAX_TERMS
from retis_py.filters.meta import compile_meta_filter
from retis_py.kernel.btf import Btf
from unit.filters.made_types import made_types

EXPRESSIONS = 60
MEMORIES = 60

# The kernel's two functions over one piece of memory: all other addresses fault.
PRELUDE = f"""
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
typedef unsigned char u8; typedef unsigned int u32;
typedef unsigned long long u64; typedef long long s64;
struct sk_buff;
static u8 memory[{MEMORY_SIZE}];

static u8 *at(u64 address, u64 size)
{{
	u64 offset = address - {MEMORY_BASE:#x}ULL;
	return offset <= sizeof(memory) && size <= sizeof(memory) - offset ? memory + offset : NULL;
}}

__attribute__((unused)) static long bpf_probe_read_kernel(void *to, u32 size, const void *from)
{{
	u8 *source = at((u64)from, size);
	if (!source) {{
		memset(to, 0, size);
		return -14;
	}}
	memcpy(to, source, size);
	return 0;
}}

__attribute__((unused)) static long bpf_probe_read_kernel_str(void *to, u32 size, const void *from)
{{
	for (u32 i = 0; i < size; i++) {{
		u8 *source = at((u64)from + i, 1);
		if (!source) {{
			memset(to, 0, size);
			return -14;
		}}
		((u8 *)to)[i] = i == size - 1 ? 0 : *source;
		if (!((u8 *)to)[i])
			return i + 1;
	}}
	return size;
}}
"""

MAIN = """
int main(void)
{
	u64 skb;
	while (fread(&skb, sizeof(skb), 1, stdin) && fread(memory, sizeof(memory), 1, stdin))
		for (u32 i = 0; i < sizeof(filters) / sizeof(*filters); i++)
			putchar('0' + filters[i]((void *)skb));
	return 0;
}
"""


@pytest.fixture(scope="module")
def btfs() -> list[Btf]:
    require("btf")
    return made_types(Btf.vmlinux())


def build(texts: list[str], folder: Path) -> Path:
    """Compile filters into a program that reads memories and writes all filters' verdicts."""
    names = [f"f{i}_meta_" for i in range(len(texts))]
    filters = [text.replace("meta_", name) for text, name in zip(texts, names, strict=True)]
    table = ", ".join(f"{name}filter" for name in names)
    source, program = folder / "filters.c", folder / "filters"
    source.write_text(
        f"{PRELUDE}{''.join(filters)}"
        f"static bool (*filters[])(struct sk_buff *) = {{ {table} }};\n{MAIN}"
    )
    subprocess.run(
        ["gcc", "-O1", "-Wall", "-Werror", "-o", str(program), str(source)],
        check=True,
        timeout=100,
    )
    return program


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("meta")


@given(seed=st.integers(0, 2**32))
@settings(
    max_examples=4,
    deadline=None,
    database=None,
    phases=[Phase.generate],  # each example is a thousand: there is nothing to shrink
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_c_and_python_agree(btfs: list[Btf], folder: Path, seed: int) -> None:
    random = Random(seed)  # noqa: S311
    trees: list[Comparison | Joined] = []
    while len(trees) < EXPRESSIONS:
        tree = expression(random, btfs)
        if len(tree.text) <= MAX_LENGTH and len(list(comparisons(tree))) <= MAX_TERMS:
            trees.append(tree)
    program = build([compile_meta_filter(tree.text, btfs) for tree in trees], folder)
    memories = [memory_for(random, trees) for _ in range(MEMORIES)]
    request = b"".join(skb.to_bytes(8, "little") + memory.data for memory, skb in memories)
    answer = subprocess.run(
        [str(program)], input=request, capture_output=True, check=True, timeout=60
    ).stdout.decode()
    assert len(answer) == EXPRESSIONS * MEMORIES
    verdicts = iter(answer)
    for number, (memory, skb) in enumerate(memories):
        for tree in trees:
            expected = tree.evaluate(memory, skb)
            assert (next(verdicts) == "1") == expected, (seed, number, tree.text)
    # Else the memory holds nothing of what is compared.
    assert 0.1 < answer.count("1") / len(answer) < 0.9
