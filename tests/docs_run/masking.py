"""Whether what was printed is what a page shows, but for what is another each time.

Times, dates, addresses in memory, numbers of processes, CPUs, devices, namespaces and packets,
ports that the kernel chose, checksums and durations are masked on both sides.
"""

import difflib
import re

_ANY_LINES = ("…", "...")

# A packet that is received may have to wait for the kernel's thread, on a busy CPU.
_TASK = re.compile(r"^((?:\\ |↳)*TIME\\ \\\(CPU\\\)\\ \\\[)(.*?)(\\\]\\ PID)")

# In this order.
_MASKS = [
    (re.compile(pattern, re.MULTILINE), replacement)
    for pattern, replacement in (
        (r"\b\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?", "DATE"),
        (r"\b\d\d:\d\d:\d\d(?= \[)", "TIME"),
        (r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "UUID"),
        (r"\b([0-9a-f]{2}:){5}[0-9a-f]{2}\b", "MAC"),
        (r"\bfe80::[0-9a-f:]+", "fe80::X"),
        # Open vSwitch: its threads, names of upcalls, and counts that it looks up now and then.
        (r"\bpackets:\d+, bytes:\d+", "packets:N, bytes:N"),
        (r"\[handler\d+\]", "[handler]"),
        (r"\((miss|action)\) port \d+ cpu \d+", r"(\1) port PORT cpu CPU"),
        (r"\(\d+/\d{9,}\)", "(CPU/TIME)"),
        (r"\bts \d{9,} \(\d+\)", "ts TIME (N)"),
        (r"\bq \d+", "q NUMBER"),
        # The first line of an event: time, CPU, thread and process.
        (r"^(\s*(?:↳ )?)(?:\d+|DATE) \(\d+\) \[(.*?)\] \d+(?:/\d+)?", r"\1TIME (CPU) [\2] PID"),
        (r"^\d{9,}$", "TIME"),
        (r"#[0-9a-f]{17,}", "#TRACKING"),
        (r"\bbpf_prog_[0-9a-f]{16}_(\w+)", r"bpf_prog_TAG_\1"),
        (r"\+0x[0-9a-f]+", "+OFFSET"),
        (r"^\s+__traceiter_\w+\+OFFSET\n", ""),  # there where somebody else traces it too
        (r"\bns (?:0x[0-9a-f]+/)?\d+", "ns NS"),
        (r"\b40265[3-9]\d{4}\b", "NS"),  # a namespace's inode number
        (r"\bif \d+\b", "if IF"),
        (r"\brxif \d+\b", "rxif IF"),
        (r"\bid \d+\b", "id ID"),
        (r"\b(seq|ack) \d{5,}(:\d+)?", r"\1 NUMBER"),
        (r"\b(val|ecr) \d+\b", r"\1 NUMBER"),
        (r"\[id \w+", "[id ID"),
        (r"\b(csum|cksum|hash) 0x[0-9a-f]+", r"\1 SUM"),
        # Ports of the kernel's choice (net.ipv4.ip_local_port_range).
        (r"\.(?:3276[89]|327[7-9]\d|32[89]\d\d|3[3-9]\d{3}|[45]\d{4}|60\d{3})\b", ".PORT"),
        (r"(?<==)(?:3276[89]|327[7-9]\d|32[89]\d\d|3[3-9]\d{3}|[45]\d{4}|60\d{3})\b", "PORT"),
        (r"\b(?:0x)?[0-9a-f]{12,16}\b", "ADDRESS"),
        (r"\b(on machine) .*", r"\1 MACHINE"),
        (r"^Linux \S+ \S+ \(.*?\)", "Linux MACHINE"),
        (r"^  BPF JIT .*", "  BPF JIT"),  # not to be seen from a network namespace of one's own
        (r"/retis-\w+/", "/retis-X/"),
        (r'"(timestamp|pid|tgid|smp_id|inum|cookie|ifindex|rx_ifindex)": ?\d+', r'"\1":N'),
        (r'"data": ?"[^"]*"', '"data":"BYTES"'),
        (r"\b\d+(?:\.\d+)? ?(s|ms|us|µs|ns|[kKMG]i?B)\b", r"N \1"),
        (r"\b(rtt \S+ =) \S+", r"\1 N"),
        (r"\bexpires \d+sec", "expires N"),
        # On a busy machine tracking misses packets that are none of the page's.
        (r", none lost$", ""),
        (r"^TIME \[WARN\] \S+ event\(s\) lost at the core's own probes.*\n?", ""),
        (r"[ \t]+$", ""),
    )
]


def mask(text: str) -> str:
    """``text`` with a name in place of each thing that is another in each run."""
    for pattern, replacement in _MASKS:
        text = pattern.sub(replacement, text)
    return text.strip("\n")


def difference(shown: tuple[str, ...], printed: str, among_others: bool = False) -> str | None:
    """None where ``printed`` is what is ``shown``; else lines for a person to read.

    ``among_others``: before, between and after events there may be others, and more are counted.

    Messages with a time (``12:00:00 [INFO] …``) are compared apart from all else: they come from
    another process than events, so that the order between the two is not always the same.
    """
    expected = mask("\n".join(line for line in shown if line != "^C")).splitlines()
    got = mask(printed).splitlines()
    if among_others:
        expected, got = _without_numbers(expected), _without_numbers(got)
        expected = ["...", *(line or "..." for line in expected), "..."]
    missing = [
        line
        for messages in (True, False)
        if (line := _not_found(_part(expected, messages), _part(got, messages))) is not None
    ]
    if not missing:
        return None
    lines = difflib.unified_diff(expected, got, "shown (masked)", "printed (masked)", lineterm="")
    return "\n".join([f"from this line on it differs: {missing[0]}", *lines, "printed:", printed])


def _without_numbers(lines: list[str]) -> list[str]:
    return [re.sub(r"[\d,]+ event\(s\)", "N event(s)", line) for line in lines]


def _part(lines: list[str], messages: bool) -> list[str]:
    chosen = [line for line in lines if _is_any(line) or line.startswith("TIME [") == messages]
    return "\n".join(chosen).strip("\n").splitlines()


def _not_found(expected: list[str], got: list[str]) -> str | None:
    """The first line of ``expected`` that ``got`` does not have in its place; None if all is."""
    text = "".join(f"{line}\n" for line in got)
    if _pattern(expected).fullmatch(text):
        return None
    for number, line in enumerate(expected, 1):
        if not _pattern(expected[:number]).match(text):
            return repr(line)
    return "the end, as more is printed"


def _pattern(lines: list[str]) -> re.Pattern[str]:
    return re.compile("".join(_line_pattern(line) for line in lines))


def _line_pattern(line: str) -> str:
    if _is_any(line):
        return r"(?:.*\n)*?"
    pattern = ".*?".join(re.escape(part) for part in line.split("…")) + r"\n"
    return _TASK.sub(lambda found: f"{found[1]}(?:{found[2]}|ksoftirqd/\\d+){found[3]}", pattern)


def _is_any(line: str) -> bool:
    return line.strip() in _ANY_LINES
