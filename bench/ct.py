"""What the collector ct costs an event, in the kernel's own statistics.

Datagrams without a connection, with one, and with one that has labels; each with the collector and
without. bench/programs.py says how it is measured.

    .venv/bin/python bench/ct.py [--runs 5] [--packets 50000] [--json FILE]
"""

import subprocess
import sys

from programs import NAMESPACE, collecting, measure, namespace, parse_arguments, statistics
from report import Report, Row

# Rules that have connections tracked; none: nothing is.
RULES = {
    "no connection": None,
    "a connection": "type filter hook input priority filter\nct state invalid drop",
    "a connection with labels": "type filter hook output priority filter\nct label set 3",
}
COLLECTORS = {"without ct": (), "with ct": ("-c", "ct")}


def main() -> int:
    """Run the benchmark; return the exit code."""
    options = parse_arguments("Measure the cost of conntrack's section.")
    report = Report("ct")
    with namespace(), statistics():
        for packets, chain in RULES.items():
            set_rules(chain)
            for collectors, arguments in COLLECTORS.items():
                with collecting(arguments) as process:
                    own, _ = measure(process.pid, options)
                report.rows.append(Row(f"{packets}, {collectors}", "ns", own))
    return report.finish(options.json)


def set_rules(chain: str | None) -> None:
    """Have a table with one chain in the namespace, or none."""
    rules = "flush ruleset\n"
    if chain is not None:
        rules += f"table inet bench {{\nchain track {{\n{chain}\n}}\n}}\n"
    command = ["ip", "netns", "exec", NAMESPACE, "nft", "-f", "-"]
    subprocess.run(command, input=rules.encode(), check=True)


if __name__ == "__main__":
    sys.exit(main())
