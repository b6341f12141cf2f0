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
    from helexa.cli.admin_client import AdminClient
    from helexa.cli.catalogue import catalogue_names
    from helexa.util.errors import HelexaError

    names = set(catalogue_names())
    try:
        admin = ctx.params.get("admin") or "127.0.0.1:8040"
        models = AdminClient(admin, timeout_s=0.5).get("/api/v1/models")
        names |= {model["id"] for model in models["models"]}
    except (HelexaError, KeyError, TypeError):
        pass  # No cortex answers: the catalogue is what is left to offer.
    return sorted(name for name in names if name.startswith(incomplete))


def complete_catalogue(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[str]:
    """Offer the names of the catalogue."""
    from helexa.cli.catalogue import catalogue_names

    return sorted(name for name in catalogue_names() if name.startswith(incomplete))
