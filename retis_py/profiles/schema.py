"""What a profile file may hold, checked key by key."""

from collections.abc import Collection
from enum import StrEnum
from pathlib import Path
from typing import NoReturn

from msgspec import Struct

from retis_py.errors import ProfileError
from retis_py.profiles.conditions import (
    Condition,
    KernelFacts,
    SymbolCondition,
    VersionCondition,
)
from retis_py.profiles.tree import MAX_BYTES, Node, YamlTreeError, read_documents
from retis_py.similar import similar


class Section(StrEnum):
    """Commands that a profile can hold arguments for."""

    COLLECT = "collect"
    PCAP = "pcap"


class Argument(Struct, frozen=True):
    """One key under ``args``: an option's name, with ``-`` or ``_``, and what it was given.

    ``values`` is empty for an option without a value (null in the file). ``where`` names file,
    line and key for error messages.
    """

    name: str
    values: tuple[str, ...]
    is_flag: bool
    where: str


class Variant(Struct, frozen=True):
    """An entry of a section; it applies where all conditions hold."""

    name: str | None
    when: tuple[Condition, ...]
    arguments: tuple[Argument, ...]

    def applies(self, kernel: KernelFacts) -> bool:
        """Whether all conditions hold."""
        return all(condition.holds(kernel) for condition in self.when)


class Profile(Struct, frozen=True):
    """A profile, and the file that it was read from."""

    name: str
    about: str
    path: Path
    sections: dict[Section, tuple[Variant, ...]]

    def variant(self, section: Section, kernel: KernelFacts) -> Variant:
        """Return the first entry of ``section`` that applies to ``kernel``.

        Raises ``ProfileError`` where there is no such section or no entry applies.
        """
        if section not in self.sections:
            others = ", ".join(f"'{name}'" for name in self.sections) or "nothing"
            raise ProfileError(
                f"{self.path}: profile '{self.name}' has no section '{section}' "
                f"(only {others}): use another profile, or give the options yourself"
            )
        variants = self.sections[section]
        for variant in variants:
            if variant.applies(kernel):
                return variant
        asked = "; ".join(" and ".join(map(str, variant.when)) for variant in variants)
        raise ProfileError(
            f"{self.path}: profile '{self.name}' does not apply to kernel {kernel.release}: "
            f"its section '{section}' asks for {asked or 'nothing, it is empty'}"
        )


def read_profiles(path: Path) -> list[Profile]:
    """Return the profiles in the file, at least one.

    Raises ``ProfileError`` for everything that is not readable or not allowed.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ProfileError(f"{path}: cannot read the profile: {reason}") from None
    except ValueError as error:  # a null byte in the path
        raise ProfileError(f"{path}: cannot read the profile: {error}") from None
    try:
        documents = read_documents(data)
    except YamlTreeError as error:
        line = f":{error.line}" if error.line else ""
        raise ProfileError(f"{path}{line}: {error}") from None
    if not documents:
        raise ProfileError(f"{path}: the file is empty: a profile was expected")
    return [_FileReader(path).profile(document) for document in documents]


class _FileReader:
    """Turns nodes into a profile; knows the file for its error messages."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def profile(self, node: Node) -> Profile:
        keys = self._mapping(node, "a profile", {"version", "name", "about", *Section})
        self._check_version(self._required(node, keys, "version"))
        name = self._text(self._required(node, keys, "name"), "name")
        return Profile(
            name=name,
            about=self._text(keys["about"], "about") if "about" in keys else "",
            path=self._path,
            sections={
                section: self._section(keys[section], section)
                for section in Section
                if section in keys
            },
        )

    def _check_version(self, node: Node) -> None:
        text = self._text(node, "version")
        if text.partition(".")[0] != "1":
            self._refuse(node, f"'version' is {text}: only profiles of version 1.0 are known")

    def _section(self, node: Node, where: str) -> tuple[Variant, ...]:
        return tuple(
            self._variant(entry, f"{where}[{index}]")
            for index, entry in enumerate(self._list(node, where))
        )

    def _variant(self, node: Node, where: str) -> Variant:
        keys = self._mapping(node, where, {"name", "when", "args"})
        when = keys.get("when")
        arguments = self._required(node, keys, "args", where)
        return Variant(
            name=self._text(keys["name"], f"{where}.name") if "name" in keys else None,
            when=tuple(
                self._condition(entry, f"{where}.when[{index}]")
                for index, entry in enumerate(self._list(when, f"{where}.when"))
            )
            if when
            else (),
            arguments=tuple(
                self._argument(name, value, f"{where}.args.{name}")
                for name, value in self._mapping(arguments, f"{where}.args").items()
            ),
        )

    def _condition(self, node: Node, where: str) -> Condition:
        keys = self._mapping(node, where, {"type", "version", "name", "exists"})
        kind = self._text(self._required(node, keys, "type", where), f"{where}.type")
        if kind == "version":
            return self._version_condition(node, where)
        if kind == "symbol":
            return self._symbol_condition(node, where)
        return self._refuse(keys["type"], f"'{where}.type' is '{kind}', not 'version' or 'symbol'")

    def _version_condition(self, node: Node, where: str) -> VersionCondition:
        keys = self._mapping(node, where, {"type", "version"})
        requirement = self._required(node, keys, "version", where)
        try:
            return VersionCondition(self._text(requirement, f"{where}.version"))
        except ValueError as error:
            return self._refuse(requirement, f"'{where}.version': {error}")

    def _symbol_condition(self, node: Node, where: str) -> SymbolCondition:
        keys = self._mapping(node, where, {"type", "name", "exists"})
        name = self._text(self._required(node, keys, "name", where), f"{where}.name")
        exists = self._bool(keys["exists"], f"{where}.exists") if "exists" in keys else True
        return SymbolCondition(name, exists)

    def _argument(self, name: str, node: Node, where: str) -> Argument:
        values: tuple[str, ...]
        if node.value is None:
            values = ()
        elif isinstance(node.value, str):
            values = (node.value,)
        else:
            values = tuple(
                self._text(item, f"{where}[{index}]")
                for index, item in enumerate(self._list(node, where))
            )
        return Argument(name, values, node.value is None, f"{self._path}:{node.line}: '{where}'")

    def _required(self, node: Node, keys: dict[str, Node], key: str, where: str = "") -> Node:
        if key not in keys:
            self._refuse(node, f"'{where}.{key}' is missing" if where else f"'{key}' is missing")
        return keys[key]

    def _mapping(
        self, node: Node, where: str, known: Collection[str] | None = None
    ) -> dict[str, Node]:
        if not isinstance(node.value, dict):
            self._refuse(node, f"{_quoted(where)} must be a mapping, not {node.kind()}")
        for key, value in node.value.items():
            if known is not None and key not in known:
                hint = _nearest(key, known) or f": known are {', '.join(sorted(known))}"
                self._refuse(value, f"unknown key '{key}' in {_quoted(where)}{hint}")
        return node.value

    def _list(self, node: Node, where: str) -> list[Node]:
        if not isinstance(node.value, list):
            self._refuse(node, f"{_quoted(where)} must be a list, not {node.kind()}")
        return node.value

    def _text(self, node: Node, where: str) -> str:
        if not isinstance(node.value, str) or not node.value:
            kind = "empty" if node.value == "" else node.kind()
            self._refuse(node, f"{_quoted(where)} must be a text, not {kind}")
        return node.value

    def _bool(self, node: Node, where: str) -> bool:
        if node.value not in {"true", "false"}:
            self._refuse(node, f"{_quoted(where)} must be true or false")
        return node.value == "true"

    def _refuse(self, node: Node, message: str) -> NoReturn:
        raise ProfileError(f"{self._path}:{node.line}: {message}")


def _quoted(where: str) -> str:
    return where if where == "a profile" else f"'{where}'"


def _nearest(name: str, known: Collection[str]) -> str:
    nearest = similar(name, known)
    return f" (did you mean '{nearest[0]}'?)" if nearest else ""
