"""The machine report as people and programs get it."""

import json
from dataclasses import replace

import pytest

from retis_py.cli.report_text import report_json, report_text
from retis_py.collect.features import Feature
from retis_py.collect.libraries import Library
from retis_py.collect.prerequisites import PRIVILEGES
from retis_py.collect.report import CollectorReport, Report, Setting

REPORT = Report(
    version="0.1.0",
    kernel_release="6.12.1",
    kernel_version="#1 SMP",
    architecture="x86_64",
    features=[
        Feature("btf", "BTF", True, "vmlinux", {"modules": ["nsh"], "modules_without": []}),
        Feature("kprobes", "kprobes", False, "built without (CONFIG_KPROBES)"),
        Feature("kprobe_multi", "kprobe.multi", None, "not tried"),
        Feature("ring_buffer", "BPF ring buffer", True),
    ],
    settings=[
        Setting("lockdown", "lockdown", "none", "none", ""),
        Setting("bpf_jit_enable", "BPF JIT", 1, "on", "net.core.bpf_jit_enable is 1"),
    ],
    privileges=[(privilege, True) for privilege in PRIVILEGES],
    libraries=[
        Library("BCC", "0.26.0"),
        Library("libbpf", None, note="version unknown"),
    ],
    obstacle=None,
    collectors=[
        CollectorReport("dev", "network device", None, None, None),
        CollectorReport("skb-tracking", "id", None, None, "by tracepoints only"),
        CollectorReport("ct", "connections", "collector ct: no", "collector ct: no", None),
    ],
)


def test_text() -> None:
    assert report_text(REPORT, 80).splitlines() == [
        "Linux 6.12.1 x86_64 (#1 SMP), retis-py 0.1.0",
        "",
        "  BTF              yes    vmlinux",
        "  kprobes          no     built without (CONFIG_KPROBES)",
        "  kprobe.multi     ?      not tried",
        "  BPF ring buffer  yes",
        "  lockdown         none",
        "  BPF JIT          on     net.core.bpf_jit_enable is 1",
        "  capabilities     yes    all that matter (CAP_BPF, CAP_PERFMON, CAP_SYSLOG,",
        "                          CAP_NET_ADMIN, CAP_SYS_PTRACE, CAP_SYS_ADMIN,",
        "                          CAP_DAC_READ_SEARCH, CAP_SYS_NICE, CAP_IPC_LOCK)",
        "  BCC              0.26.0",
        "  libbpf           ?      version unknown",
        "",
        "Collectors:",
        "  dev              yes    network device",
        "  skb-tracking     yes    id (by tracepoints only)",
        "  ct               no     no",
    ]


def test_without_privileges() -> None:
    held = [(privilege, privilege.name == "CAP_SYSLOG") for privilege in PRIVILEGES]
    none = "collecting needs privileges"
    report = replace(
        REPORT,
        privileges=held,
        obstacle=none,
        collectors=[
            CollectorReport("dev", "network device", none, None, None),
            CollectorReport("ct", "connections", none, "collector ct: no module", None),
        ],
    )
    lines = report_text(report, 200).splitlines()
    [capabilities] = [line for line in lines if line.startswith("  capabilities")]
    assert "no     missing: CAP_BPF (make maps, load programs), CAP_PERFMON (" in capabilities
    assert lines[-4:] == [
        "Nothing can be collected: collecting needs privileges",
        "Collectors:",
        "  dev              no     network device (see above)",
        "  ct               no     see above, and no module",
    ]
    held = [(privilege, privilege.needed) for privilege in PRIVILEGES]
    text = report_text(replace(report, privileges=held), 400)
    assert "  capabilities     some   missing: CAP_SYSLOG (" in text
    assert "held: CAP_BPF, CAP_PERFMON\n" in text


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_lines_are_no_longer_than_the_terminal(width: int) -> None:
    features = [Feature("x", "x", False, "many words in a row and so on " * 10)]
    lines = report_text(replace(REPORT, features=features), width).splitlines()
    assert max(map(len, lines)) <= width


def test_missing_library() -> None:
    report = replace(REPORT, libraries=[Library("BCC", None, missing="install it")])
    assert "  BCC              no     install it\n" in report_text(report, 100)
    assert json.loads(report_json(report))["libraries"]["bcc"] == {
        "available": False,
        "version": None,
        "text": "install it",
    }


def test_data_of_others_is_escaped() -> None:
    evil = "\x1b[31m\r\n\u202e"
    report = replace(
        REPORT,
        kernel_release=evil,
        features=[Feature("tracefs", "tracefs", True, f"at /mnt/{evil}", {"path": evil})],
        settings=[Setting("x", "x", evil, evil, evil)],
        libraries=[Library("BCC", evil, note=evil)],
        obstacle=evil,
        collectors=[CollectorReport("ct", evil, evil, evil, evil)],
    )
    text = report_text(report, 100)
    assert all(line.isprintable() for line in text.splitlines())
    assert "\\x1b[31m" in text
    assert report_json(report).isascii()
    assert json.loads(report_json(report))["features"]["tracefs"]["path"] == evil


def test_json() -> None:
    told = json.loads(report_json(REPORT))
    assert list(told) == [
        "retis_py",
        "kernel",
        "features",
        "settings",
        "capabilities",
        "libraries",
        "collect",
        "collectors",
    ]
    assert told["kernel"] == {"release": "6.12.1", "version": "#1 SMP", "architecture": "x86_64"}
    assert told["features"]["btf"] == {
        "available": True,
        "text": "vmlinux",
        "modules": ["nsh"],
        "modules_without": [],
    }
    assert told["features"]["kprobe_multi"]["available"] is None
    assert told["features"]["ring_buffer"]["text"] is None
    assert told["settings"]["bpf_jit_enable"]["value"] == 1
    assert told["capabilities"]["CAP_BPF"]["held"] is True
    assert told["collect"] == {"available": True, "reason": None}
    assert told["collectors"]["ct"] == {
        "available": False,
        "reason": "collector ct: no",
        "own_reason": "collector ct: no",
        "limits": None,
        "summary": "connections",
    }
