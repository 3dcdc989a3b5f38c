"""Machines that are not this one: files of a root directory of their own."""

from pathlib import Path

from retis_py.kernel.host import Host

ALL = "000001ffffffffff"
KPROBES = {
    "proc/config.gz": "CONFIG_KPROBES=y\nCONFIG_KPROBE_EVENTS=y\nCONFIG_FPROBE=y\n"
    "CONFIG_BPF_EVENTS=y\nCONFIG_UPROBE_EVENTS=y\n",
    "sys/bus/event_source/devices/kprobe/type": "8\n",
    "proc/kallsyms": "ffffffff81000000 T bpf_fentry_test1\n",
}


def host(root: Path, files: dict[str, str], *, capabilities: str = ALL) -> Host:
    """A machine whose files are those, with ``capabilities`` as /proc/PID/status has them."""
    for name, text in (files | {"proc/self/status": f"CapEff:\t{capabilities}\n"}).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return Host(root)


def bits(*numbers: int) -> str:
    """Capabilities by their numbers, as /proc/PID/status has them."""
    return f"{sum(1 << n for n in numbers):016x}"
