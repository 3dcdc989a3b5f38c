"""Types of kernels and modules that are not here."""

from collections.abc import Mapping

from retis_py.kernel.btf import Btf
from retis_py.probes.available import Types

Enums = Mapping[str, dict[str, int]]


class OtherBtf(Btf):
    """A kernel's types with some enums replaced (an empty one: not there)."""

    def __init__(self, real: Btf, enums: Enums) -> None:
        super().__init__(real._handle)
        self._enums = enums

    def enum(self, name: str) -> dict[str, int] | None:
        return (self._enums[name] or None) if name in self._enums else super().enum(name)


class OtherTypes(Types):
    """Types with modules that are not loaded here."""

    def __init__(self, vmlinux: Btf, enums: Enums, modules: Mapping[str, Enums]) -> None:
        super().__init__(OtherBtf(vmlinux, enums))
        self._modules |= {name: OtherBtf(vmlinux, enums) for name, enums in modules.items()}
