"""A kernel module that a collector needs, and what to say where it is not there."""

from dataclasses import dataclass

from retis_py.errors import MissingPrerequisite
from retis_py.kernel.host import Host, ModuleState


@dataclass(frozen=True, slots=True)
class NeededModule:
    """A module, and the kernel's ``option`` that builds it.

    ``without`` is what that means where it is missing, ``load`` how to have it loaded; both go on
    in a sentence.
    """

    name: str
    option: str
    without: str
    load: str


def check_module(host: Host, collector: str, module: NeededModule) -> None:
    """Check that the module's code is in the kernel.

    Raises:
        MissingPrerequisite: it is not; says what to do.
    """
    match host.module_state(module.name, module.option):
        case ModuleState.IN_KERNEL:
            return
        case ModuleState.NOT_BUILT:
            why = (
                f"this kernel is built without the module {module.name} ({module.option}), so"
                f" {module.without}; collect without {collector}"
            )
        case ModuleState.NOT_INSTALLED:
            why = (
                f"the module {module.name} is not installed for this kernel, so {module.without}:"
                " install the package with the rest of its modules (Debian: linux-image-…,"
                " Ubuntu: linux-modules-extra-…, Fedora: kernel-modules)"
            )
        case ModuleState.NOT_LOADED:
            why = f"the module {module.name} is not loaded, so {module.without}: {module.load}"
    raise MissingPrerequisite(f"collector {collector}: {why}")


def no_module_types(collector: str, module: str) -> MissingPrerequisite:
    """Return the error for a module that is there without its types."""
    return MissingPrerequisite(
        f"collector {collector}: the types of the module {module} are not known (there is no"
        f" /sys/kernel/btf/{module}): use a kernel with CONFIG_DEBUG_INFO_BTF_MODULES"
    )
