"""`helexa store`: the database of tenants and keys is checked, backed up and migrated."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from helexa.cli.options import config_option, debug_option, output_option
from helexa.cli.people import cortex_settings, state_dir_option
from helexa.util.errors import NotFoundError, UnhealthyError

if TYPE_CHECKING:
    from helexa.store.database import Database


@click.group("store", epilog="""\b
Examples:
  helexa store check
  helexa store backup /backups/store-$(date +%F).db
  helexa store migrate --config cortex.toml

They open the database of --config or --state-dir themselves; a cortex may run meanwhile.
To restore a backup: stop the cortex, put the file in the place of store.db (and delete store.db-wal
and store.db-shm), start it.
""")  # fmt: skip
def store() -> None:
    """Check, back up and migrate the database of tenants and keys."""


@store.command("check")
@config_option
@state_dir_option
@output_option
@debug_option
def check(config_file: Path | None, state_dir: str | None, output: str) -> None:
    """Tell whether the database is whole; exit 0 or 8."""
    from helexa.store.upkeep import problems_of

    database = _database(config_file, state_dir)
    try:
        problems = problems_of(database)
    finally:
        database.close()
    where = database.where
    if output == "json":
        click.echo(json.dumps({"store": where, "problems": problems}))
    elif not problems:
        click.echo(f"{where} is whole")
    if problems:
        raise UnhealthyError(
            f"{where}: " + "; ".join(problems), error_id="HX-0765",
            hint="restore a backup, or `helexa store migrate` where only the revision differs",
        )  # fmt: skip


@store.command("backup")
@click.argument("file", type=click.Path(path_type=Path))
@config_option
@state_dir_option
@debug_option
def backup(file: Path, config_file: Path | None, state_dir: str | None) -> None:
    """Copy the database into the new file FILE, which only you can read, while it is used."""
    from helexa.store.upkeep import back_up

    database = _database(config_file, state_dir)
    try:
        back_up(database, file)
    finally:
        database.close()
    click.echo(f"{database.where} is copied to {file}")


@store.command("migrate")
@config_option
@state_dir_option
@output_option
@debug_option
def migrate(config_file: Path | None, state_dir: str | None, output: str) -> None:
    """Bring the database to the shape of this helexa; a SQLite file is, when a cortex starts."""
    from helexa.store.migrate import migrate as bring

    database = _database(config_file, state_dir, create=True)
    try:
        had, has = bring(database)
    finally:
        database.close()
    if output == "json":
        click.echo(json.dumps({"store": database.where, "had": had, "has": has}))
        return
    told = "has it already" if had == has else f"had {had or 'nothing'}"
    click.echo(f"{database.where} has revision {has}; it {told}")


def _database(
    config_file: Path | None, state_dir: str | None, *, create: bool = False
) -> "Database":
    from helexa.config.keys import read_foreign_key_file
    from helexa.store.database import open_database

    config = cortex_settings(config_file, state_dir)
    where = config.store.location(config.state_dir)
    if where.path and not create and not Path(where.path).exists():
        raise NotFoundError(
            f"there is no store at {where.path}", error_id="HX-0766",
            hint="name it with --config or --state-dir; a cortex with `--auth store` makes one",
        )  # fmt: skip
    file = config.store.password_file
    password = None if file is None else read_foreign_key_file(file)
    return open_database(where, password, mend=create)
