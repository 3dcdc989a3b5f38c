"""Commands whose arguments may come from profiles: ``@click.command(cls=ProfiledCommand)``.

A profile's arguments are put before the user's own, so that lists add up and, where an option
has one value, the user's comes last and wins.
"""

import logging
from typing import TYPE_CHECKING

import click

from retis_py.cli.globals import GlobalOptions
from retis_py.errors import ProfileError
from retis_py.similar import similar

if TYPE_CHECKING:
    from retis_py.profiles import Argument

log = logging.getLogger(__name__)


class ProfiledCommand(click.Command):
    """A command that takes the arguments of ``retis --profile``.

    Its name is the name of the section in the profiles (``collect`` or ``pcap``).
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the profiles' arguments, then the user's."""
        options = ctx.find_object(GlobalOptions)
        if options is not None and options.profiles and not ctx.resilient_parsing:
            args = [*self._profile_tokens(ctx, options), *args]
        return super().parse_args(ctx, args)

    def _profile_tokens(self, ctx: click.Context, options: GlobalOptions) -> list[str]:
        # YAML is not needed where no profile is asked for.
        from retis_py.profiles import (  # noqa: PLC0415
            RunningKernel,
            Section,
            find_profile,
        )

        section = Section(self.name or "")
        kernel = RunningKernel()
        tokens: list[str] = []
        for name in options.profiles:
            profile = find_profile(name, options.extra_profiles_dirs)
            variant = profile.variant(section, kernel)
            chosen = f" ({variant.name})" if variant.name else ""
            log.debug("profile %s%s from %s", profile.name, chosen, profile.path)
            for argument in variant.arguments:
                tokens += self._argument_tokens(ctx, argument)
        return tokens

    def _argument_tokens(self, ctx: click.Context, argument: "Argument") -> list[str]:
        """Return ``--name=value`` for each value, or ``--name`` for a flag.

        The value is tied to the name with ``=``, or one that begins with ``-`` would be taken
        for an option, and the user's first word for the value of an option without one.
        """
        option, spelled = self._option(argument)
        if option.is_flag or option.count:
            if not argument.is_flag:
                raise ProfileError(
                    f"{argument.where}: '{spelled}' takes no value: write '{argument.name}: ~'"
                )
            return [spelled]
        if argument.is_flag:
            # An option whose value may be left out, such as collect's --out, has a flag_value.
            if not isinstance(option.flag_value, str):
                raise ProfileError(f"{argument.where}: '{spelled}' needs a value")
            return [f"{spelled}={option.flag_value}"]
        if len(argument.values) > 1 and not option.multiple:
            raise ProfileError(f"{argument.where}: '{spelled}' takes one value, not a list")
        for value in argument.values:
            _check_value(ctx, option, argument, value)
        return [f"{spelled}={value}" for value in argument.values]

    def _option(self, argument: "Argument") -> tuple[click.Option, str]:
        """Return the option that the argument names, and how it is spelled."""
        wanted = "--" + argument.name.replace("_", "-")
        known: list[str] = []
        for option in self.params:
            if isinstance(option, click.Option):
                spellings = [*option.opts, *option.secondary_opts]
                if wanted in spellings:
                    return option, wanted
                if not option.hidden:
                    known += [name[2:] for name in spellings if name.startswith("--")]
        nearest = similar(wanted[2:], known)
        hint = (
            f"did you mean '{nearest[0]}'?"
            if nearest
            else f"see 'retis {self.name} --help' for those that there are"
        )
        raise ProfileError(
            f"{argument.where}: 'retis {self.name}' has no option '{wanted}' ({hint})"
        )


def _check_value(
    ctx: click.Context, option: click.Option, argument: "Argument", value: str
) -> None:
    """Raise ``ProfileError`` for a value that the option refuses, while the file is known.

    Types that open files are left to the command.
    """
    if isinstance(option.type, click.File):
        return
    try:
        option.type.convert(value, option, ctx)
    except click.UsageError as error:
        raise ProfileError(f"{argument.where}: {error.message}") from None
