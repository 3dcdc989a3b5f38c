"""What runs the commands of the documentation: a page is made, run, and judged."""

from pathlib import Path

import pytest

from docs_run import masking, page
from docs_run.run import Report, run_page
from retis_py import __version__


def made(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "made.md"
    path.write_text(text)
    return path


def run(tmp_path: Path, text: str, time_limit: float = 30) -> Report:
    there = {"here"}
    return run_page(
        made(tmp_path, text), lambda name: None if name in there else f"no {name}", time_limit
    )


def test_commands_share_a_shell_and_go_on_over_lines(tmp_path: Path) -> None:
    text = """
```console
$ number=4
$ cat > file <<'END'
$ not a command
END
$ echo "$number
two" \\
  three
4
two three
$ cat file; exit_code=3
$ not a command
```
"""
    steps = [step for block in page.read(made(tmp_path, text)) for step in block.steps]  # type: ignore[union-attr]
    assert [step.line for step in steps] == [3, 4, 7, 12, 13]
    assert steps[1].shown is None
    assert steps[2].shown == ("4", "two three")


def test_what_is_printed_is_compared(tmp_path: Path) -> None:
    report = run(tmp_path, "```console\n$ seq 4\n1\n…\n4\n$ seq 2\n1\n3\n$ echo not shown\n```\n")
    assert report.ran == 3
    (problem,) = report.problems
    assert "line 6: seq 2" in problem
    assert "differs: '3'" in problem


def test_more_than_is_shown_is_a_difference(tmp_path: Path) -> None:
    assert run(tmp_path, "```console\n$ seq 2\n1\n```\n").problems
    assert run(tmp_path, "```console\n$ seq 2\n2\n```\n").problems


def test_failing(tmp_path: Path) -> None:
    wrong = run(tmp_path, "```console\n$ false\n$ echo Error: x\nError: x\n```\n")
    assert len(wrong.problems) == 2
    text = "```console\n$ retis print none\nError: …\n$ yes | head -1\ny\n```\n"
    assert run(tmp_path, text).problems == []


def test_the_last_of_a_block_fails(tmp_path: Path) -> None:
    text = "<!-- fails: no answer -->\n```console\n$ {}\n$ {}\n```\n"
    assert run(tmp_path, text.format("true", "false")).problems == []
    assert len(run(tmp_path, text.format("false", "true")).problems) == 2
    assert run(tmp_path, text.format("true", "false") + "```console\n$ false\n```\n").problems


def test_needs(tmp_path: Path) -> None:
    text = "<!-- needs: {} -->\n```console\n$ false\n```\n"
    assert run(tmp_path, "\n" + text.format("here")).problems
    left_out = run(tmp_path, "\n" + text.format("here,else"))
    assert (left_out.ran, left_out.left_out) == (0, ["line 3: no else"])
    of_the_page = text.format("else") + "```console\n$ false\n```\n"
    assert run(tmp_path, of_the_page).ran == 0
    assert run(tmp_path, text.replace("needs: {}", "not run: sleeps")).ran == 0


def test_shown_where(tmp_path: Path) -> None:
    text = "<!-- shown {} -->\n```console\n$ echo one\ntwo\n```\n"
    assert run(tmp_path, text.format("with: here")).problems
    assert run(tmp_path, text.format("without: else")).problems
    assert not run(tmp_path, text.format("with: else")).problems
    assert not run(tmp_path, text.format("without: here")).problems


def test_files_and_hidden_commands(tmp_path: Path) -> None:
    text = """
<!-- file: sub/mine.yaml -->
```yaml
version: 1
```
<!-- file: other from LICENSE -->
<!-- run: echo x > third -->
```console
$ cat sub/mine.yaml third
version: 1
x
$ test -s other
```
"""
    report = run(tmp_path, text)
    assert (report.ran, report.problems) == (3, [])


def test_a_command_that_does_not_end(tmp_path: Path) -> None:
    report = run(tmp_path, "```console\n$ echo begun; sleep 60\n$ echo never\n```\n", 1)
    (problem,) = report.problems
    assert "not ended after 1 s" in problem
    assert "begun" in problem


def test_interrupted(tmp_path: Path) -> None:
    text = "```console\n$ echo 1 loaded; sleep 20 || echo over\n1 loaded\n^C\nover\n```\n"
    assert run(tmp_path, text).problems == []


def test_the_shell_ends(tmp_path: Path) -> None:
    (problem,) = run(tmp_path, "```console\n$ exit\n```\n").problems
    assert "the shell ended" in problem


def test_retis_is_the_checkouts(tmp_path: Path) -> None:
    report = run(tmp_path, f"```console\n$ retis --version\nretis-py {__version__}\n```\n")
    assert report.problems == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("```console\noutput\n```\n", "2: output that no command comes before"),
        ("```console\n$ echo 'open\n```\n", "2: a command without an end"),
        ("```console\n$ true\n", "1: a block without an end"),
        ("\n<!-- needs: root -->\n```none\n```\n", "3: comments for commands"),
    ],
)
def test_bad_pages(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(page.PageError, match=problem):
        page.read(made(tmp_path, text))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("3250216169311 (0) [ping] 4217 [tp] x", "2 (13) [ping] 1/2 [tp] x"),
        ("  ↳ 3250216169311 (0) [a b] 4217 [tp] x", "  ↳ 2 (13) [a b] 1/2 [tp] x"),
        ("2026-11-21 01:17:32.715992 (0) [bash] 4 [tp]", "2025-01-02 00:00:00.1 (1) [bash] 5 [tp]"),
        ("01:02:03 [INFO] x", "23:59:59 [INFO] x"),
        ("127.0.0.1.37784 > 127.0.0.1.9 id 4", "127.0.0.1.60999 > 127.0.0.1.9 id 70"),
        ("ns 0x3/4026531833 if 1 (lo) rxif 1", "ns 0xf/1 if 20 (lo) rxif 9"),
        ("#2fa1a142108ffff88819d692000", "#1ffff88819d692000a"),
        ("(skb ffff888165900700)", "(skb ffff111116590070)"),
        ("bpf_prog_87eb67dd467c3383_x+0xa60", "bpf_prog_07eb67dd467c3383_x+0x1"),
        ("4026532177 client", "4026533001 client"),
        ("cache expires 598sec mtu 1400", "cache expires 9sec mtu 1400"),
        (
            "01:02:03 [INFO] 4 event(s), none lost",
            "01:02:03 [INFO] 4 event(s)\n01:02:03 [WARN] 1 event(s) lost at the core's own probes",
        ),
    ],
)
def test_masked(one: str, other: str) -> None:
    assert masking.mask(one) == masking.mask(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("127.0.0.1.9 > 127.0.0.1.80", "127.0.0.1.9 > 127.0.0.1.81"),
        ("10.0.0.1 > 10.0.0.2", "10.0.0.1 > 10.0.0.3"),
        ("4 event(s)", "5 event(s)"),
        ("len 84 proto UDP (17)", "len 85 proto UDP (17)"),
        ("drop (reason NO_SOCKET)", "drop (reason NOT_SPECIFIED)"),
        ("handle 5 drop", "handle 6 drop"),
        ("01:02:03 [INFO] x", "01:02:03 [WARN] x"),
        ("1 event(s), none lost", "1 event(s)\n01:02:03 [WARN] 1 event(s) lost at x: ring full"),
    ],
)
def test_not_masked(one: str, other: str) -> None:
    assert masking.mask(one) != masking.mask(other)


def test_among_others() -> None:
    shown = ("01:00:00 [INFO] started", "one", "  more", "", "two", "01:00:00 [INFO] 2 event(s)")
    events = "zero\n\none\n  more\n\nx\n\ntwo\n\ny\n"
    printed = f"02:00:00 [INFO] started\n{events}02:00:00 [INFO] 5 event(s)\n"
    assert masking.difference(shown, printed, among_others=True) is None
    assert masking.difference(shown, printed) is not None
    assert masking.difference(shown, printed.replace("two", "2"), among_others=True) is not None


def test_messages_are_compared_apart() -> None:
    shown = ("01:00:00 [INFO] started", "event", "01:00:00 [INFO] ended")
    assert (
        masking.difference(shown, "02:00:00 [INFO] started\n02:00:00 [INFO] ended\nevent\n") is None
    )
    assert masking.difference(shown, "02:00:00 [INFO] started\nevent\n") is not None
    assert masking.difference(shown, "02:00:00 [INFO] started\n02:00:00 [INFO] ended\n") is not None


def test_the_kernels_thread_may_take_over() -> None:
    shown = ("  ↳ 3250216169311 (0) [ping] 4217 [tp] x",)
    assert masking.difference(shown, "  ↳ 3 (1) [ksoftirqd/1] 22 [tp] x") is None
    assert masking.difference(shown, "  ↳ 3 (1) [bash] 22 [tp] x") is not None
