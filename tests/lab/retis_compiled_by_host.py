"""``python -m retis_py`` in an emulated guest, but that the host compiles (compiler_child.py)."""

import sys
from pathlib import Path

from retis_py.cli.main import main
from retis_py.collect import compiler

if __name__ == "__main__":
    compiler._CHILD = Path(__file__).with_name("compiler_child.py")
    sys.exit(main())
