"""The event that begins a file."""

from typing import Any

STARTUP: dict[str, Any] = {
    "common": {"timestamp": 1},
    "startup": {
        "retis_version": "v1.7.0",
        "cmdline": "retis collect",
        "clock_monotonic_offset": {"sec": 5, "nsec": 7},
        "machine": {"kernel_release": "6.1", "kernel_version": "#1", "hardware_name": "x86_64"},
    },
}
