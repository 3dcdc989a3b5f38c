"""A checkout that others cannot enter is open to them for tests, and closed to all else."""

import subprocess
import sys
from pathlib import Path

from lab.capabilities import require

ROOT = Path(__file__).parents[2]

_OPENED = """
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from lab.open_checkout import open_checkout
from lab.unprivileged import prefix

open_checkout(Path.cwd())
Path("made").touch()
sys.exit(subprocess.run([*prefix(()), "cat", "file", "../beside", "../link"]).returncode)
"""


def test_open_to_others_and_nothing_changed(tmp_path: Path) -> None:
    """The working directory, which is in it, stays the same folder."""
    require("root")
    home = tmp_path / "home"
    checkout = home / "checkout"
    checkout.mkdir(parents=True)
    (checkout / "file").write_text("1")
    (home / "beside").write_text("2")
    (home / "link").symlink_to("checkout/file")
    for folder in (tmp_path, home):
        folder.chmod(0o700)
    command = [sys.executable, "-c", _OPENED, str(ROOT / "tests")]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "121"), done.stderr
    assert (checkout / "made").exists()
    assert not {path.name for path in home.iterdir()} - {"checkout", "beside", "link"}
    assert home.stat().st_mode & 0o777 == 0o700
    assert str(home) not in Path("/proc/self/mountinfo").read_text()
