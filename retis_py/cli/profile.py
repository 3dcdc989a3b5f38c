"""``retis profile``: what profiles there are."""

from pathlib import Path

import click

from retis_py.cli.globals import GlobalOptions
from retis_py.errors import UsageError
from retis_py.events.escape import escape
from retis_py.profiles import list_profiles


@click.group(name="profile", invoke_without_command=True)
@click.pass_context
def profile_command(ctx: click.Context) -> None:
    """Show the profiles that 'retis --profile' can use."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(UsageError.exit_code)


@profile_command.command(name="list")
@click.option(
    "-P",
    "--extra-profiles-dir",
    "extra_profiles_dirs",
    metavar="DIR",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder to search before all others, as before the command.",
)
@click.pass_obj
def profile_list(options: GlobalOptions, extra_profiles_dirs: tuple[Path, ...]) -> None:
    """List profiles: name, purpose, commands, file.

    Folders are searched in this order: those of -P, $HOME/.config/retis/profiles,
    /etc/retis/profiles, /usr/share/retis/profiles, and the profiles that come with retis. Of
    two with the same name the first is used.
    """
    used: dict[str, Path] = {}
    for path, profiles in list_profiles((*options.extra_profiles_dirs, *extra_profiles_dirs)):
        click.echo(f"{escape(str(path))}:")
        for profile in profiles:
            first = used.setdefault(profile.name, path)
            hidden = "" if first == path else f" [hidden by {first}]"
            sections = ", ".join(profile.sections)
            click.echo(escape(f"  {profile.name:<20} {profile.about} ({sections}){hidden}"))
