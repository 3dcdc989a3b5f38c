"""``python -m retis_py`` in an emulated guest, but that the host compiles (compiler_child.py)."""

import os
import sys
from pathlib import Path

from retis_py.cli.main import main
from retis_py.collect import compiler


def run() -> int:
    """Run the command line; return the exit code."""
    if os.environ["RETIS_COMPILE_FOLDER"]:  # empty: the test wants it to compile itself
        compiler._CHILD = Path(__file__).with_name("compiler_child.py")
    return main()


if __name__ == "__main__":
    sys.exit(run())
