"""Programs of guests, compiled on this machine: LLVM takes 20 times as long on an emulated CPU.

Requests and answers are files in the folder that the guest shares: compiler_child.py writes the
ones and waits for the others. What compiles is the very child that retis starts, with the guest's
headers: what comes out is the same (tests/functional/test_compile_in_guest.py).
"""

import marshal
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from retis_py.collect import compiler

_INTERVAL = 0.05  # s
REQUEST, ANSWER = ".request", ".answer"


@contextmanager
def serving(folder: Path) -> Iterator[None]:
    """Answer what comes into ``folder`` beside the block."""
    folder.mkdir(exist_ok=True)
    folder.chmod(0o777)  # for those who are not root in the guest
    over = Event()
    thread = Thread(target=_serve, args=(folder, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _serve(folder: Path, over: Event) -> None:
    while not over.wait(_INTERVAL):
        for request in folder.glob(f"*{REQUEST}"):
            answer = request.with_suffix(ANSWER)
            # Renamed into place: a file that is there is whole.
            unfinished = answer.with_suffix(".unfinished")
            unfinished.write_bytes(_compile(request.read_bytes()))
            request.unlink()
            unfinished.rename(answer)


def _compile(message: bytes) -> bytes:
    request, headers = marshal.loads(message)  # noqa: S302 (from our own child)
    with tempfile.TemporaryDirectory(prefix="retis-vm-headers-") as name:
        for path, content in headers.items():
            file = Path(name, path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        child = subprocess.run(
            [sys.executable, "-S", "-P", str(compiler._CHILD)],
            input=request,
            capture_output=True,
            check=False,
            env=os.environ
            | {"BCC_KERNEL_SOURCE": name, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
    return child.stdout
