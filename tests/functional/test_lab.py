"""The lab itself: namespaces that reach each other, and a BCC that compiles and loads."""

import subprocess
import sys
from pathlib import Path

from lab import netns


def test_hosts_reach_each_other_over_ipv4(pair: netns.Pair) -> None:
    result = pair.left.run("ping", "-c1", "-W5", pair.right.ip4)
    assert "1 received" in result.stdout


def test_hosts_reach_each_other_over_ipv6(pair6: netns.Pair) -> None:
    result = pair6.left.run("ping", "-6", "-c1", "-W5", pair6.right.ip6)
    assert "1 received" in result.stdout


def test_nothing_unasked_is_on_an_ipv4_link(pair: netns.Pair) -> None:
    pair.left.run("ping", "-c2", "-i0.2", "-W5", pair.right.ip4)
    path = f"/sys/class/net/{pair.right.dev}/statistics/rx_packets"
    assert pair.right.run("cat", path).stdout.strip() == "2"


def test_namespaces_are_removed() -> None:
    with netns.pair() as made:
        names = {made.left.ns, made.right.ns}
    listed = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    assert not names & set(listed.split())


# BCC takes this for a kernel's source: the little that it looks at itself, and no more.
HEADERS = {
    "include/linux/kconfig.h": "#define CONFIG_BPF_SYSCALL 1",
    "include/linux/types.h": """
        #pragma once
        typedef unsigned char __u8, u8;
        typedef signed char __s8, s8;
        typedef unsigned short __u16, u16, __be16, __le16, __sum16;
        typedef short __s16, s16;
        typedef unsigned int __u32, u32, __be32, __le32, __wsum;
        typedef int __s32, s32, pid_t;
        typedef unsigned long long __u64, u64, __be64, __le64;
        typedef long long __s64, s64;
        typedef __u64 __attribute__((aligned(8))) __aligned_u64;
        typedef unsigned long size_t, uintptr_t;
        typedef _Bool bool;
        #define PAGE_SIZE 4096
        struct pt_regs { unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx,
                         si, di, orig_ax, ip, cs, flags, sp, ss; };
        """,
    "include/linux/bpf_common.h": "",
    "include/linux/version.h": "#define LINUX_VERSION_CODE 0\n#define KERNEL_VERSION(a, b, c) 1",
    "include/uapi/linux/bpf.h": "#include <linux/types.h>",
    "include/uapi/linux/if_packet.h": "#include <linux/types.h>",
    "include/linux/log2.h": "",
    "arch/x86/include/asm/page.h": "",
}

# In another process: BCC brings LLVM along, and warnings of its own.
COUNT = """
import subprocess, sys
from bcc import BPF
program = BPF(text="BPF_ARRAY(count, u64, 1);" + sys.argv[1] + "{ count.increment(0); return 0; }")
subprocess.run(sys.argv[2:], check=True, stdout=subprocess.DEVNULL)
print(program["count"][0].value)
"""


def test_bcc_counts_at_a_raw_tracepoint(pair: netns.Pair, btf: None, tmp_path: Path) -> None:
    # The request and its reply, but the machine's other packets count too.
    assert _count("RAW_TRACEPOINT_PROBE(netif_rx)", pair, tmp_path) >= 2


def test_bcc_counts_at_a_kprobe(kprobes: None, btf: None, pair: netns.Pair, tmp_path: Path) -> None:
    assert _count("int kprobe__ip_rcv(struct pt_regs *ctx)", pair, tmp_path) >= 2


def _count(probe: str, pair: netns.Pair, folder: Path) -> int:
    for name, text in HEADERS.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    ping = ["ip", "netns", "exec", pair.left.ns, "ping", "-c1", "-W5", pair.right.ip4]
    result = subprocess.run(
        [sys.executable, "-c", COUNT, probe, *ping],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "BCC_KERNEL_SOURCE": str(folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return int(result.stdout)
