"""The bridge that docs/ovs.md speaks of, until it is told to end (SIGTERM).

``ovs_bridge.py READY``: two hosts on it, namespaces ``left`` (10.0.0.1) and ``right`` (10.0.0.2);
the file READY is made when all is there.
"""

import signal
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lab import ovs

NAMES = Path("/run/netns")


def main(ready: Path) -> None:
    """Make the bridge and wait."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with ovs.bridge() as made:
        # Flows are to be there still when a collection has ended, which takes long when emulated.
        made.switch.vsctl("set", "Open_vSwitch", ".", "other_config:max-idle=600000")
        for number, (name, host) in enumerate(zip(("left", "right"), made.hosts, strict=True), 1):
            (NAMES / name).symlink_to(NAMES / host.ns)
            address = ["addr", "add", f"10.0.0.{number}/24", "dev", host.dev]
            subprocess.run(["ip", "-n", host.ns, *address], check=True)
        ready.touch()
        signal.pause()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
