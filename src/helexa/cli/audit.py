"""`helexa audit`: who changed what, and when."""

from typing import Any

import click

from helexa.cli import people_view
from helexa.cli.people import path_of, reach_of, reach_options


@click.command("audit", epilog="""\b
Examples:
  helexa audit
  helexa audit --subject 4x8fQm2LkZ7
  helexa audit --limit 1000 -o csv > audit.csv
""")  # fmt: skip
@click.option("--limit", metavar="N", type=click.IntRange(1, 1000), default=100, show_default=True,
              help="How many entries, the newest first.")  # fmt: skip
@click.option("--before", metavar="ID", type=click.IntRange(min=1),
              help="Only entries older than this one.")  # fmt: skip
@click.option("--subject", metavar="NAME", help="Only what was done to this key, tenant, project.")
@reach_options
def audit(limit: int, before: int | None, subject: str | None, **given: Any) -> None:
    """Show changes to tenants, projects and keys: who, what, when and why."""
    query = {"limit": str(limit), "before": None if before is None else str(before),
             "subject": subject}  # fmt: skip
    with reach_of(given).people() as people:
        found = people.get(path_of("audit"), query)["entries"]
    click.echo(people_view.listing_text(found, people_view.ENTRIES, given["output"]))
