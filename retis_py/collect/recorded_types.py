"""What collectors ask of BTF to word events, written down for those who read a spool elsewhere."""

from typing import cast

from retis_py.kernel.btf import Btf, Member
from retis_py.probes.available import Types

Answers = dict[str, dict[str, int] | None]
"""Enumerators by name, or a struct's members (as 0); None: there is none. By MODULE/KIND/NAME."""


def recording(types: Types, answers: Answers) -> Types:
    """Return types that note in ``answers`` what is asked of them."""
    return cast("Types", _Types(answers, types))


def replaying(answers: Answers, types: Types | None) -> Types:
    """Return types that answer from notes; what is not in them is asked of ``types``, if given."""
    return cast("Types", _Types(answers, types, replay=True))


class _Types:
    """Stands in for Types, as far as the parts of collectors use them."""

    def __init__(self, answers: Answers, types: Types | None, *, replay: bool = False) -> None:
        self._answers = answers
        self._types = types
        self._replay = replay

    @property
    def vmlinux(self) -> "_Btf":
        return _Btf("", self._answers, self._types.vmlinux if self._types else None, self._replay)

    @property
    def conntrack(self) -> "list[_Btf]":
        btf = self.module("nf_conntrack")
        return [btf] if btf else []

    def module(self, name: str) -> "_Btf | None":
        key = f"{name}/module"
        if self._replay and key in self._answers:
            there = self._answers[key] is not None
            return _Btf(name, self._answers, self._live(name), replay=True) if there else None
        live = self._live(name)
        if not self._replay:
            self._answers[key] = None if live is None else {}
        return _Btf(name, self._answers, live, self._replay) if live else None

    def _live(self, name: str) -> Btf | None:
        return self._types.module(name) if self._types else None


class _Btf:
    def __init__(self, module: str, answers: Answers, live: Btf | None, replay: bool) -> None:
        self._module = module
        self._answers = answers
        self._live = live
        self._replay = replay

    def enum(self, name: str) -> dict[str, int] | None:
        key = f"{self._module}/enum/{name}"
        if self._replay and key in self._answers:
            return self._answers[key]
        found = self._live.enum(name) if self._live else None
        if not self._replay:
            self._answers[key] = found
        return found

    def struct(self, name: str) -> dict[str, Member] | dict[str, int] | None:
        key = f"{self._module}/struct/{name}"
        if self._replay and key in self._answers:
            return self._answers[key]
        found = self._live.struct(name) if self._live else None
        if not self._replay:
            self._answers[key] = None if found is None else dict.fromkeys(found, 0)
        return found
