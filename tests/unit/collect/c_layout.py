"""What a C compiler makes of struct definitions: the other opinion on layouts."""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

PRELUDE = """\
#include <stddef.h>
#include <stdio.h>
#include <string.h>
typedef unsigned char u8; typedef signed char s8;
typedef unsigned short u16; typedef short s16;
typedef unsigned int u32; typedef int s32;
typedef unsigned long long u64; typedef long long s64;
"""


def measure(
    definitions: str, structs: Mapping[str, Sequence[str]], folder: Path
) -> dict[str, tuple[int, dict[str, tuple[int, int]]]]:
    """Return each struct's size and its members' offsets and sizes, in bytes.

    ``structs`` gives for each name the members to ask for; a member may be a path, ``a.b``.
    """
    lines = []
    for name, members in structs.items():
        lines.append(f'printf("%zu\\n", sizeof(struct {name}));')
        for m in members:
            size = f"sizeof(((struct {name} *)0)->{m})"
            lines.append(f'printf("%zu %zu\\n", offsetof(struct {name}, {m}), {size});')
    body = "\n\t".join(lines)
    output = run_c(f"{definitions}\nint main(void) {{\n\t{body}\n\treturn 0;\n}}\n", folder)
    numbers = iter(output)
    found = {}
    for name, members in structs.items():
        size = int(next(numbers))
        fields = {}
        for member in members:
            offset, length = next(numbers).split()
            fields[member] = (int(offset), int(length))
        found[name] = (size, fields)
    return found


def run_c(text: str, folder: Path) -> list[str]:
    """Compile a program, run it and return the lines that it prints."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler (Debian: apt-get install gcc libc6-dev)")
    source, program = folder / "program.c", folder / "program"
    source.write_text(PRELUDE + text)
    subprocess.run([compiler, "-w", "-O0", "-o", str(program), str(source)], check=True)
    output = subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout
    return output.splitlines()
