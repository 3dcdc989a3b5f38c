"""Types of kernels and modules that are not here."""

from collections.abc import Mapping

from retis_py.kernel.btf import Btf, Member
from retis_py.probes.available import Types

Enums = Mapping[str, dict[str, int]]


class OtherBtf(Btf):
    """A kernel's types with some enums replaced (an empty one: not there)."""

    def __init__(self, real: Btf, enums: Enums) -> None:
        super().__init__(real._handle)
        self._enums = enums

    def enum(self, name: str) -> dict[str, int] | None:
        return (self._enums[name] or None) if name in self._enums else super().enum(name)


class WithoutMember(Btf):
    """A kernel's types without a member of a struct, or without the struct (``None``)."""

    def __init__(self, real: Btf, struct: str, member: str | None) -> None:
        super().__init__(real._handle)
        self._struct = struct
        self._member = member

    def struct(self, name: str) -> dict[str, Member] | None:
        found = super().struct(name)
        if found is None or name != self._struct:
            return found
        return {n: m for n, m in found.items() if n != self._member} if self._member else None


class OtherTypes(Types):
    """Types with modules that are not loaded here."""

    def __init__(self, vmlinux: Btf, enums: Enums, modules: Mapping[str, Enums]) -> None:
        super().__init__(OtherBtf(vmlinux, enums))
        self._modules |= {name: OtherBtf(vmlinux, enums) for name, enums in modules.items()}
