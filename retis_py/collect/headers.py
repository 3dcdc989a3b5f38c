"""The generated header tree: all that BCC's front end wants of a kernel's sources.

BCC looks for a kernel source tree, uses its types and little else. The kernel's structs come from
BTF (structs.py), so the tree can be a few lines, and no kernel headers need be installed.
"""

import os
import re
from pathlib import Path

from retis_py.errors import MissingPrerequisite

_TYPES = """\
#pragma once
typedef unsigned char __u8; typedef signed char __s8;
typedef unsigned short __u16; typedef short __s16;
typedef unsigned int __u32; typedef int __s32;
typedef unsigned long long __u64; typedef long long __s64;
typedef __u8 u8; typedef __s8 s8; typedef __u16 u16; typedef __s16 s16;
typedef __u32 u32; typedef __s32 s32; typedef __u64 u64; typedef __s64 s64;
typedef __u8 uint8_t; typedef __u16 uint16_t; typedef __u32 uint32_t; typedef __u64 uint64_t;
typedef __s8 int8_t; typedef __s16 int16_t; typedef __s32 int32_t; typedef __s64 int64_t;
typedef __u16 __be16; typedef __u16 __le16; typedef __u32 __be32; typedef __u32 __le32;
typedef __u64 __be64; typedef __u64 __le64; typedef __u16 __sum16; typedef __u32 __wsum;
typedef __u64 __aligned_u64 __attribute__((aligned(8)));
typedef unsigned long size_t; typedef long ssize_t; typedef unsigned long uintptr_t;
typedef int pid_t; typedef _Bool bool;
#define true 1
#define false 0
#ifndef NULL
#define NULL ((void *)0)
#endif
#define PAGE_SIZE 4096
"""

# BCC's helpers.h needs them for its PT_REGS_* macros. arch/x86/include/asm/ptrace.h and
# arch/arm64/include/uapi/asm/ptrace.h.
_PT_REGS = {
    "x86_64": """\
struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax;
	unsigned long ip, cs, flags, sp, ss;
};
""",
    "aarch64": """\
struct user_pt_regs { __u64 regs[31]; __u64 sp; __u64 pc; __u64 pstate; };
struct pt_regs { __u64 regs[31]; __u64 sp; __u64 pc; __u64 pstate; };
""",
}
_ARCH_FOLDER = {"x86_64": "x86", "aarch64": "arm64"}

# The classic BPF instruction encoding: include/uapi/linux/bpf_common.h.
_BPF_COMMON = """\
#pragma once
#define BPF_CLASS(code) ((code) & 0x07)
#define BPF_LD 0x00
#define BPF_LDX 0x01
#define BPF_ST 0x02
#define BPF_STX 0x03
#define BPF_ALU 0x04
#define BPF_JMP 0x05
#define BPF_RET 0x06
#define BPF_MISC 0x07
#define BPF_SIZE(code) ((code) & 0x18)
#define BPF_W 0x00
#define BPF_H 0x08
#define BPF_B 0x10
#define BPF_MODE(code) ((code) & 0xe0)
#define BPF_IMM 0x00
#define BPF_ABS 0x20
#define BPF_IND 0x40
#define BPF_MEM 0x60
#define BPF_LEN 0x80
#define BPF_MSH 0xa0
#define BPF_OP(code) ((code) & 0xf0)
#define BPF_ADD 0x00
#define BPF_SUB 0x10
#define BPF_MUL 0x20
#define BPF_DIV 0x30
#define BPF_OR 0x40
#define BPF_AND 0x50
#define BPF_LSH 0x60
#define BPF_RSH 0x70
#define BPF_NEG 0x80
#define BPF_MOD 0x90
#define BPF_XOR 0xa0
#define BPF_JA 0x00
#define BPF_JEQ 0x10
#define BPF_JGT 0x20
#define BPF_JGE 0x30
#define BPF_JSET 0x40
#define BPF_SRC(code) ((code) & 0x08)
#define BPF_K 0x00
#define BPF_X 0x08
#ifndef BPF_MAXINSNS
#define BPF_MAXINSNS 4096
#endif
"""

_INCLUDE_TYPES = "#include <linux/types.h>\n"


def write_header_tree(folder: Path) -> None:
    """Write the tree for this machine's architecture and kernel into ``folder``.

    Raises:
        MissingPrerequisite: the architecture is not supported.
    """
    for name, text in header_files().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def header_files() -> dict[str, str]:
    """Return the tree's files for this machine's architecture and kernel.

    Raises:
        MissingPrerequisite: the architecture is not supported.
    """
    machine = os.uname().machine
    check_architecture(machine)
    return {
        "include/linux/kconfig.h": "#define CONFIG_BPF_SYSCALL 1\n",
        "include/linux/types.h": _TYPES + _PT_REGS[machine],
        "include/linux/bpf_common.h": _BPF_COMMON,
        "include/linux/version.h": _version(os.uname().release),
        "include/linux/log2.h": _INCLUDE_TYPES,
        "include/uapi/linux/bpf.h": _INCLUDE_TYPES,
        "include/uapi/linux/if_packet.h": _INCLUDE_TYPES,
        "include/uapi/linux/ptrace.h": _INCLUDE_TYPES
        + "#ifndef __always_inline\n#define __always_inline inline __attribute__((always_inline))\n"
        "#endif\n",
        f"arch/{_ARCH_FOLDER[machine]}/include/asm/page.h": _INCLUDE_TYPES,
    }


def check_architecture(machine: str) -> None:
    """Check that programs can be compiled for it.

    Raises:
        MissingPrerequisite: it is not supported.
    """
    if machine not in _PT_REGS:
        raise MissingPrerequisite(
            f"cannot compile for {machine}: only {' and '.join(sorted(_PT_REGS))} are supported"
        )


def _version(release: str) -> str:
    numbers = [int(n) for n in re.findall(r"\d+", release)[:3]]
    major, minor, patch = (*numbers, 0, 0, 0)[:3]
    return (
        "#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + ((c) > 255 ? 255 : (c)))\n"
        f"#define LINUX_VERSION_CODE KERNEL_VERSION({major}, {minor}, {patch})\n"
    )
