"""``retis schema``: what an event looks like, for programs."""

import click
import msgspec

from retis_py.events.schema import event_schema_json


@click.command("schema")
def schema_command() -> None:
    """Print the JSON schema (2020-12) of an event, to check or generate code with.

    A line of an event file is such an event, a line of a sorted file an array of them.
    """
    click.echo(msgspec.json.format(event_schema_json(), indent=2))
