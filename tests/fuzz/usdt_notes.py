"""ELF files with USDT notes, damaged: probes, or one line that says what is wrong."""

import tempfile
from pathlib import Path

from fuzz.target import Target, assert_safe
from retis_py.errors import MissingPrerequisite
from retis_py.events.escape import escape
from retis_py.kernel.usdt import read_probes
from unit.kernel.elf_builder import ARM64, CODE_ADDRESS, DATA_ADDRESS, ElfFile, note

_ARGUMENTS = (b"-4@%edi 8@-40(%rbp) 4@$5", b"8@8(%rax,%rbx,4) 1@%al -2@sym(%rip)",
              b"8@[sp, 16] -4@x1 4@-3", b"8@%rip(0x10) 4f@%xmm0")  # fmt: skip
_WORDS = (b"stapsdt\0", b".stapsdt.base\0", b".note.stapsdt", b"\x7fELF\x02\x01", b"@", b"$-1",
          b"(%rbp)", b"%r15d", b"[x29, -8]", b"8@", b"-1@")  # fmt: skip


def target() -> Target:
    """See the module."""
    path = Path(tempfile.mkdtemp(prefix="retis-fuzz-")) / "program"

    def check(data: bytes) -> None:
        # Most of a file is what is loaded, which nobody looks at: it is put in here.
        head, tail = data[:176], data[176:]
        path.write_bytes(head + bytes(0x1900 - 176) + tail if len(data) > 176 else data)
        try:
            probes = read_probes(path)
        except MissingPrerequisite as error:
            assert_safe(escape(str(error)))
            return
        for probe in probes:
            assert 0 <= probe.offset < 1 << 63
            assert 0 <= probe.semaphore < 1 << 63
            assert_safe(escape(probe.symbol))
            for argument in probe.arguments:
                assert argument is None or 0 <= argument.number < 1 << 64

    files = [ElfFile([note(CODE_ADDRESS, b"a", b"b", each)]) for each in _ARGUMENTS]
    files += [
        ElfFile([note(CODE_ADDRESS + 8, semaphore=DATA_ADDRESS), note()]),
        ElfFile([note(CODE_ADDRESS, b"a", b"b", _ARGUMENTS[2])], machine=ARM64),
        ElfFile([note()], base=None),
    ]
    whole = [file.content() for file in files]
    return Target(check, [each[:176] + each[0x1900:] for each in whole], _WORDS, max_length=2000)
