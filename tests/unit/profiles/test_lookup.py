"""Where profiles are found, and the ones that are shipped."""

import logging
import os
from pathlib import Path

import pytest

from retis_py import resources
from retis_py.errors import MissingPrerequisite, ProfileError
from retis_py.profiles import KernelFacts, RunningKernel, Section, find_profile, list_profiles
from retis_py.resources import bpf_dir, profiles_dir
from unit.profiles.made_up import HEAD, Kernel


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    (folder / ".config/retis/profiles").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder))
    return folder / ".config/retis/profiles"


def write(folder: Path, name: str, about: str, file: str | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (file or f"{name}.yaml")
    path.write_text(f"version: 1.0\nname: {name}\nabout: {about}\ncollect: [{{args: {{}}}}]\n")
    return path


def test_extra_folders_before_the_users_before_ours(tmp_path: Path, home: Path) -> None:
    assert find_profile("dropmon").path == profiles_dir() / "dropmon.yaml"
    mine = write(home, "dropmon", "mine")
    assert find_profile("dropmon").path == mine
    first = write(tmp_path / "first", "dropmon", "first", file="other.yml")
    write(tmp_path / "second", "dropmon", "second")
    found = find_profile("dropmon", [tmp_path / "first", tmp_path / "second"])
    assert found.path == first


def test_by_path(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "mine", "text")
    monkeypatch.chdir(tmp_path)
    for name in (str(path), "./mine.yaml", "mine.yaml"):
        assert find_profile(name).about == "text"
    with pytest.raises(ProfileError, match="cannot read the profile: No such file"):
        find_profile("./missing.yaml")
    with pytest.raises(
        ProfileError, match=r"no profile is called 'missing\.yaml': known are dropm"
    ):
        find_profile("missing.yaml")


def test_path_of_a_file_with_several_profiles(tmp_path: Path) -> None:
    (tmp_path / "two.yaml").write_text(HEAD + "---\n" + HEAD.replace("name: p", "name: q"))
    with pytest.raises(ProfileError, match=rf"several profiles \(p, q\).*-P {tmp_path}"):
        find_profile(str(tmp_path / "two.yaml"))
    assert find_profile("q", [tmp_path]).name == "q"


def test_unreadable_files_are_skipped_with_a_warning(
    tmp_path: Path, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.yaml").write_text("nonsense")
    (tmp_path / "dangling.yaml").symlink_to("nowhere")
    (tmp_path / "folder.yaml").mkdir()
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "notes.txt").write_text("no profile")
    good = write(tmp_path, "good", "text")
    assert find_profile("good", [tmp_path]).path == good
    with caplog.at_level(logging.WARNING):
        listed = dict(list_profiles([tmp_path]))
    assert [profile.name for profile in listed[good]] == ["good"]
    broken, dangling = [record.getMessage() for record in caplog.records]
    assert broken == (
        f"profile skipped: {tmp_path}/a.yaml:1: a profile must be a mapping, not a text"
    )
    assert dangling.startswith(f"profile skipped: {tmp_path}/dangling.yaml: cannot read")


def test_broken_file_of_the_name_asked_for_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "dropmon.yaml").write_text("nonsense")
    with pytest.raises(ProfileError, match=r"dropmon\.yaml:1: a profile must be a mapping"):
        find_profile("dropmon", [tmp_path])


def test_extra_folder_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="cannot search for profiles: No such file"):
        find_profile("dropmon", [tmp_path / "missing"])


def probes(
    profile: str, kernel: KernelFacts, section: Section = Section.COLLECT
) -> tuple[str, ...]:
    variant = find_profile(profile).variant(section, kernel)
    return next(a.values for a in variant.arguments if a.name == "probe")


def test_shipped_profiles(home: Path) -> None:
    names = {profile.name for _, found in list_profiles() for profile in found}
    assert names >= {"dropmon", "nft-dropmon", "generic", "ifdump", "udp"}
    assert probes("dropmon", Kernel()) == ("tp:skb:kfree_skb/stack",)
    assert probes("dropmon", Kernel(), Section.PCAP) == ("tp:skb:kfree_skb",)
    assert probes("nft-dropmon", Kernel()) == ("kprobe:__nft_trace_packet/stack",)
    assert probes("ifdump", Kernel()) == ("tp:net:netif_receive_skb", "tp:net:net_dev_start_xmit")


GRO = {"tcp_gro_receive", "tcp6_gro_receive", "udp_gro_receive", "udp6_gro_receive"}


def test_generic_follows_the_kernel() -> None:
    full = probes("generic", Kernel(symbols=frozenset({"register_kprobe", *GRO})))
    assert "kprobe:tcp6_gro_receive" in full
    inlined = probes(
        "generic", Kernel(symbols=frozenset({"register_kprobe", "ipv6_rcv", "tcp_v6_rcv"}))
    )
    assert set(full) - set(inlined) == {f"kprobe:{name}" for name in GRO}
    without_ipv6 = probes("generic", Kernel(symbols=frozenset({"register_kprobe"})))
    assert "kprobe:ip_rcv" in without_ipv6
    assert not [probe for probe in without_ipv6 if "6" in probe]
    without_kprobes = probes("generic", Kernel(symbols=frozenset(GRO)))
    assert without_kprobes == tuple(probe for probe in full if probe.startswith("tp:"))


@pytest.mark.parametrize("name", ["generic", "udp"])
def test_only_functions_that_this_kernel_has(name: str) -> None:
    kernel = RunningKernel()
    for probe in probes(name, kernel):
        assert kernel.has_symbol(probe.removeprefix("kprobe:").removeprefix("tp:")), probe


def test_resources_in_a_checkout_and_in_a_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (bpf_dir() / "core").is_dir()
    package = tmp_path / "retis_py"
    (package / "data/profiles").mkdir(parents=True)
    monkeypatch.setattr(resources, "_PACKAGE", package)
    assert profiles_dir() == package / "data/profiles"
    with pytest.raises(MissingPrerequisite, match="folder 'bpf' is neither at"):
        bpf_dir()
