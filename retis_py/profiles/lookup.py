"""Where profiles are looked for, and how one is found by name or by path."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from retis_py.errors import ProfileError
from retis_py.profiles.schema import Profile, read_profiles
from retis_py.resources import profiles_dir

log = logging.getLogger(__name__)

_SUFFIXES = (".yaml", ".yml")


def search_path(extra: Sequence[Path]) -> list[Path]:
    """Return the folders to search, the first to win first: ``extra``, user, system, shipped."""
    system = [Path("/etc/retis/profiles"), Path("/usr/share/retis/profiles"), profiles_dir()]
    try:
        return [*extra, Path.home() / ".config/retis/profiles", *system]
    except RuntimeError:  # neither $HOME nor an entry in the user database
        return [*extra, *system]


def find_profile(name: str, extra: Sequence[Path] = ()) -> Profile:
    """Return the profile of that name, or the one in that file.

    ``name`` is a path when it holds a ``/`` or ends in ``.yaml`` or ``.yml`` and exists. Files
    that cannot be read on the way to a name are skipped with a warning.

    Raises ``ProfileError``.
    """
    path = Path(name)
    if "/" in name or (name.endswith(_SUFFIXES) and path.exists()):
        return _only_profile(path)
    seen: list[str] = []
    for file in _profile_files(extra, first=name):
        try:
            profiles = read_profiles(file)
        except ProfileError as error:
            if file.stem == name:
                raise
            log.warning("profile skipped: %s", error)
            continue
        for profile in profiles:
            if profile.name == name:
                return profile
            seen.append(profile.name)
    known = ", ".join(sorted(set(seen))) or "none at all"
    raise ProfileError(f"no profile is called '{name}': known are {known}")


def list_profiles(extra: Sequence[Path] = ()) -> Iterator[tuple[Path, list[Profile]]]:
    """Yield each profile file that can be read, in the order in which they are searched.

    Warns about the others.
    """
    for file in _profile_files(extra):
        try:
            yield file, read_profiles(file)
        except ProfileError as error:
            log.warning("profile skipped: %s", error)


def _only_profile(path: Path) -> Profile:
    profiles = read_profiles(path)
    if len(profiles) > 1:
        names = ", ".join(profile.name for profile in profiles)
        raise ProfileError(
            f"{path}: the file holds several profiles ({names}): "
            f"name one of them and give its folder with -P {path.parent}"
        )
    return profiles[0]


def _profile_files(extra: Sequence[Path], first: str | None = None) -> Iterator[Path]:
    """Yield the files folder by folder; one whose stem is ``first`` leads its folder."""
    for folder in search_path(extra):
        try:
            files = [file for file in folder.iterdir() if file.suffix in _SUFFIXES]
        except OSError as error:
            if folder in extra:  # asked for by name, so it must be there
                reason = error.strerror or str(error)
                raise ProfileError(f"{folder}: cannot search for profiles: {reason}") from None
            if not isinstance(error, FileNotFoundError):
                log.warning("%s: cannot search for profiles: %s", folder, error.strerror)
            continue
        # A dangling link is kept, to be reported; a named pipe would block.
        files = [file for file in files if file.is_file() or not file.exists()]
        yield from sorted(files, key=lambda file: (file.stem != first, file.name))
