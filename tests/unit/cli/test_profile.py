"""``retis profile list``, and profiles merged into a command's arguments."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from retis_py.cli.globals import GlobalOptions
from retis_py.cli.main import cli, main
from retis_py.cli.profile_args import ProfiledCommand
from retis_py.errors import ProfileError
from retis_py.resources import profiles_dir


def command(name: str = "collect") -> click.Command:
    """A command with an option of each kind; returns what it was given."""

    @click.command(name, cls=ProfiledCommand)
    @click.option("-p", "--probe", "probes", multiple=True)
    @click.option("-c", "--collectors")
    @click.option("--snaplen", type=click.IntRange(0, 1024), default=255)
    @click.option("--stack", is_flag=True)
    @click.option("--print/--no-print", "show", default=True)
    @click.option("-e", "--verbose", count=True)
    @click.option("-o", "--out", is_flag=False, flag_value="retis.data")
    @click.option("--print-bpf", hidden=True)
    @click.argument("file", required=False)
    def run(**options: Any) -> dict[str, Any]:
        return options

    return run


def parse(
    folder: Path,
    args: str,
    *user: str,
    section: str = "collect",
    profiles: tuple[str, ...] = ("p",),
) -> dict[str, Any]:
    """Run the command with a profile of these ``args`` lines."""
    lines = "".join(f"      {line}\n" for line in args.splitlines())
    (folder / "p.yaml").write_text(
        f"version: 1.0\nname: p\nabout: a\n{section}:\n  - args:\n{lines or '      {}'}"
    )
    options = GlobalOptions(profiles=profiles, extra_profiles_dirs=(folder,))
    result = command().main(list(user), obj=options, standalone_mode=False)
    assert isinstance(result, dict)
    return result


def test_lists_add_up_and_the_users_values_win(tmp_path: Path) -> None:
    options = parse(
        tmp_path,
        "probe: [tp:a:b, k:c]\ncollectors: skb,dev\nsnaplen: 100",
        *["-p", "k:d", "--collectors", "ns"],
    )
    assert options["probes"] == ("tp:a:b", "k:c", "k:d")
    assert options["collectors"] == "ns"
    assert options["snaplen"] == 100


def test_flags_and_optional_values(tmp_path: Path) -> None:
    options = parse(tmp_path, "stack: ~\nno_print:\nverbose: ~\nout: ~", "input")
    assert options["stack"] is True
    assert options["show"] is False
    assert options["verbose"] == 1
    assert options["out"] == "retis.data"  # and not "input"
    assert options["file"] == "input"


def test_values_that_look_like_options(tmp_path: Path) -> None:
    assert parse(tmp_path, 'probe: ["--stack", "-x"]')["probes"] == ("--stack", "-x")
    assert parse(tmp_path, "print_bpf: x")["print_bpf"] == "x"


def test_several_profiles_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "q.yaml").write_text(
        "version: 1.0\nname: q\ncollect: [{args: {probe: q, collectors: q}}]"
    )
    options = parse(tmp_path, "probe: p\ncollectors: p", profiles=("q", "p"))
    assert options["probes"] == ("q", "p")
    assert options["collectors"] == "p"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("probs: a", "has no option '--probs' (did you mean 'probe'?)"),
        ("zzzz: a", "has no option '--zzzz' (see 'retis collect --help' for those that there are)"),
        ("help: ~", "has no option '--help'"),
        ("probes: a", "has no option '--probes'"),  # the variable's name, not the option's
        ("stack: true", "'--stack' takes no value: write 'stack: ~'"),
        ("collectors: ~", "'--collectors' needs a value"),
        ("collectors: [a, b]", "'--collectors' takes one value, not a list"),
        ("snaplen: many", "'many' is not a valid integer range"),
        ("snaplen: 5000", "5000 is not in the range 0<=x<=1024"),
    ],
)
def test_refusals_name_file_line_and_key(tmp_path: Path, args: str, message: str) -> None:
    key = args.partition(":")[0]
    with pytest.raises(ProfileError) as caught:
        parse(tmp_path, args)
    assert str(caught.value).startswith(f"{tmp_path}/p.yaml:6: 'collect[0].args.{key}': ")
    assert message in str(caught.value)


def test_profile_without_the_commands_section(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="profile 'p' has no section 'collect'"):
        parse(tmp_path, "probe: a", section="pcap")


def test_help_of_the_command_needs_no_profile() -> None:
    result = CliRunner().invoke(command(), ["--help"], obj=GlobalOptions())
    assert result.exit_code == 0
    assert "--probe" in result.output


# retis profile list


def test_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    result = CliRunner().invoke(cli, ["profile", "list"])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    at = lines.index(f"{profiles_dir()}/dropmon.yaml:")
    assert lines[at + 1].startswith("  dropmon              Every dropped packet")
    assert lines[at + 1].endswith("(collect, pcap)")


@pytest.mark.parametrize("before", [True, False])
def test_list_says_what_is_hidden_and_what_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], before: bool
) -> None:
    (tmp_path / "mine.yaml").write_text(
        'version: 1.0\nname: dropmon\nabout: "mine \\e[31m"\ncollect: []'
    )
    (tmp_path / "broken.yaml").write_text("a: [")
    where = ["-P", str(tmp_path)]
    code = main([*where, "profile", "list"] if before else ["profile", "list", *where])
    output = capsys.readouterr()
    assert code == 0
    assert output.out.startswith(
        f"{tmp_path}/mine.yaml:\n  dropmon              mine \\x1b[31m (collect)\n"
    )
    assert f" [hidden by {tmp_path}/mine.yaml]" in output.out
    assert f"[WARN] profile skipped: {tmp_path}/broken.yaml:" in output.err


def test_profile_alone_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile"]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert "Usage: retis profile" in output.err


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: setpriv drops to another user")
def test_file_without_permission(tmp_path: Path) -> None:
    path = tmp_path / "secret.yaml"
    path.write_text("version: 1.0\nname: secret\n")
    path.chmod(0)
    for parent in (tmp_path, *tmp_path.parents):
        if parent.stat().st_uid == os.getuid() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o055)
    result = subprocess.run(
        [
            *(
                "setpriv",
                "--reuid=65534",
                "--clear-groups",
                "--inh-caps=-all",
                "--bounding-set=-all",
            ),
            *(sys.executable, "-m", "retis_py", "-P", str(tmp_path), "profile", "list"),
        ],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "secret.yaml: cannot read the profile: Permission denied" in result.stderr
    assert "dropmon" in result.stdout
