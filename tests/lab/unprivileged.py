"""retis as a user of its own with a few capabilities, instead of root, for tests that root sets up.

With ``RETIS_UNPRIVILEGED`` in the environment lab/cli.py starts retis so; commands of ``--cmd``,
which may need root (``ip netns exec``), are run beside it.
"""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

CAPABILITIES = ("bpf", "perfmon", "net_admin", "syslog")
"""Those that docs/privileges.md says to be enough."""

NOBODY = 65534

VARIABLE = "RETIS_UNPRIVILEGED"


def wanted() -> bool:
    """Whether retis is to be started so."""
    return bool(os.environ.get(VARIABLE))


def prefix(capabilities: Sequence[str] = CAPABILITIES) -> list[str]:
    """The words before a command that is to run with these capabilities only (setpriv(1))."""
    held = ",".join(["-all", *(f"+{name}" for name in capabilities)])
    return [
        *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
        *(f"--inh-caps={held}", f"--ambient-caps={held}", f"--bounding-set={held}"),
        *("env", "HOME=/nonexistent", "PYTHONDONTWRITEBYTECODE=1"),
    ]


def prefix_if_wanted(*arguments: str | Path) -> list[str]:
    """The prefix, or nothing; folders of files among the arguments of retis are let be used."""
    if not wanted():
        return []
    for argument in arguments:
        if Path(argument).is_absolute():
            let_in(Path(argument).parent)
    return prefix()


def let_in(folder: Path) -> None:
    """Let the user make files in a folder of a test's."""
    os.chown(folder, NOBODY, NOBODY)
    for parent in folder.parents:
        if not parent.stat().st_mode & 1:
            parent.chmod(parent.stat().st_mode | 1)


def split_command(arguments: Sequence[str | Path]) -> tuple[list[str | Path], str | None]:
    """Take ``--cmd COMMAND`` out of retis's arguments."""
    words = list(arguments)
    if "--cmd" not in words:
        return words, None
    at = words.index("--cmd")
    command = str(words[at + 1])
    del words[at : at + 2]
    return words, command


def run_as_root(command: str) -> None:
    """Run what ``--cmd`` would have run."""
    subprocess.run(["/bin/sh", "-c", command], check=False, capture_output=True)
