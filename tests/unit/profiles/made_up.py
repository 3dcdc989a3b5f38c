"""Made-up kernels, and profiles read from text."""

from dataclasses import dataclass, field
from pathlib import Path

from retis_py.profiles import Profile, read_profiles

HEAD = "version: 1.0\nname: p\nabout: text\n"


@dataclass
class Kernel:
    """Facts of a made-up kernel; records the symbols asked for."""

    release: str = "6.1.0-18-amd64"
    symbols: frozenset[str] = frozenset()
    asked: list[str] = field(default_factory=list)

    def has_symbol(self, name: str) -> bool:
        self.asked.append(name)
        return name in self.symbols


def read(tmp_path: Path, text: str | bytes) -> list[Profile]:
    path = tmp_path / "file.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_profiles(path)
