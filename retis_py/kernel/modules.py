"""Kernel modules: which are there, and which describe their types."""

import re
from functools import cached_property
from pathlib import Path


class Modules:
    """Modules of the running kernel. ``-`` and ``_`` in names are the same, as for modprobe."""

    def __init__(self, release: str, root: Path = Path("/")) -> None:
        self._root = root
        self._release = release

    def loaded(self, name: str) -> bool:
        """Whether the module is loaded and live now (asked anew each time)."""
        return _canonical(name) in self.all_loaded()

    def all_loaded(self) -> frozenset[str]:
        """Return the names of all modules that are loaded and live; empty without CONFIG_MODULES.

        A module that is just coming or going is not listed.
        """
        # NAME SIZE REFERENCES USERS STATE ADDRESS (kernel/module/procfs.c, m_show).
        try:
            lines = (self._root / "proc/modules").read_text().splitlines()
        except OSError:
            return frozenset()
        fields = (line.split() for line in lines)
        return frozenset(_canonical(f[0]) for f in fields if len(f) >= 5 and f[4] == "Live")

    def built_in(self, name: str) -> bool:
        """Whether the module's code is part of the kernel itself, as far as can be known.

        Where /lib/modules has no list of this kernel, only those with parameters or a version
        are known: these have a folder in /sys/module, without the ``initstate`` of loaded ones.
        """
        if _canonical(name) in self._built_in:
            return True
        folder = self._root / "sys/module" / _canonical(name)
        return folder.is_dir() and not (folder / "initstate").exists()

    def available(self, name: str) -> bool:
        """Whether the module's code is in the kernel now, loaded or built in."""
        return self.loaded(name) or self.built_in(name)

    def installed(self, name: str) -> bool | None:
        """Whether there is a file to load the module from; None where nothing is known.

        Distributions keep rarely used modules in packages of their own.
        """
        try:
            text = (self._root / f"lib/modules/{self._release}/modules.dep").read_text()
        except OSError:
            return None
        # kernel/net/openvswitch/openvswitch.ko.xz: kernel/net/nsh/nsh.ko.xz ...
        found = re.findall(r"^(?:\S*/)?([^/\s]+)\.ko[^/\s]*:", text, re.MULTILINE)
        return _canonical(name) in map(_canonical, found)

    def with_btf(self) -> frozenset[str]:
        """Return the names of all modules whose types can be read."""
        try:
            names = frozenset(path.name for path in (self._root / "sys/kernel/btf").iterdir())
        except OSError:
            return frozenset()
        return names - {"vmlinux"}

    def has_btf(self, name: str) -> bool:
        """Whether the module's types can be read (/sys/kernel/btf/NAME: there while loaded)."""
        return (self._root / "sys/kernel/btf" / _canonical(name)).is_file()

    @cached_property
    def _built_in(self) -> frozenset[str]:
        try:
            text = (self._root / f"lib/modules/{self._release}/modules.builtin").read_text()
        except OSError:
            return frozenset()
        # kernel/net/openvswitch/openvswitch.ko
        return frozenset(_canonical(name) for name in re.findall(r"([^/\s]+)\.ko\b", text))


def _canonical(name: str) -> str:
    return name.replace("-", "_")
