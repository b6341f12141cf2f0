"""`helexa completion SHELL`, and the names that completion offers."""

import click

_SHELLS = ("bash", "zsh", "fish")
COMPLETION_VARIABLE = "_HELEXA_COMPLETE"


@click.command("completion")
@click.argument("shell", type=click.Choice(_SHELLS))
def completion(shell: str) -> None:
    """Print the completion script of SHELL; model names are completed too.

    \b
      bash:  helexa completion bash > ~/.local/share/bash-completion/completions/helexa
      zsh:   helexa completion zsh > "${fpath[1]}/_helexa"
      fish:  helexa completion fish > ~/.config/fish/completions/helexa.fish
    """
    from click.shell_completion import get_completion_class

    from helexa.cli.main import cli

    found = get_completion_class(shell)
    assert found is not None, "click knows these shells"
    maker = found(cli, {}, "helexa", COMPLETION_VARIABLE)
    # The class's own `source` runs bash to learn its version; the script does not depend on it.
    click.echo(maker.source_template % maker.source_vars(), nl=False)


def complete_model(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Offer the names of models that a running cortex serves, and of the catalogue."""
    from helexa.cli.catalogue import catalogue_names

    names = {*catalogue_names(), *_ids(ctx, "models")}
    return sorted(name for name in names if name.startswith(incomplete))


def complete_served_model(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[str]:
    """Offer the names of models that a running cortex knows."""
    return sorted(name for name in _ids(ctx, "models") if name.startswith(incomplete))


def complete_neuron(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Offer the names of a running cortex's neurons."""
    return sorted(name for name in _ids(ctx, "neurons") if name.startswith(incomplete))


def _ids(ctx: click.Context, kind: str) -> list[str]:
    """Return the ids of all `models` or `neurons`; none where no cortex answers."""
    from helexa.cli.admin_client import AdminClient
    from helexa.util.errors import HelexaError

    try:
        admin = ctx.params.get("admin") or "127.0.0.1:8040"
        told = AdminClient(admin, timeout_s=0.5).get(f"/api/v1/{kind}")
        return [str(each["id"]) for each in told[kind]]
    except (HelexaError, KeyError, TypeError):
        return []


def complete_catalogue(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[str]:
    """Offer the names of the catalogue."""
    from helexa.cli.catalogue import catalogue_names

    return sorted(name for name in catalogue_names() if name.startswith(incomplete))
