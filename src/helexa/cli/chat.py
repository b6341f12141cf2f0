"""`helexa chat`: one question, a pipe, or a conversation in the terminal."""

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from helexa.cli.completion import complete_model
from helexa.cli.conversation import Conversation, Piece, default_model
from helexa.cli.http_client import HttpClient
from helexa.cli.options import Finite, debug_option, output_option
from helexa.cli.telling import Telling, tell_error
from helexa.util.clock import SystemClock
from helexa.util.errors import HelexaError, UsageError

_HINT = "is a gateway running there? start one with `helexa up`, or name it with --base-url"
_INPUT_CHARS_MAX = 8_000_000
_HELP = """\
/model [NAME]   show or change the model        /system [TEXT]  show or set the system message
/stats          show how the last answer went   /clear          forget the conversation
/help           this list                       /exit           leave (so does Ctrl-D)
Ctrl-C stops an answer."""


@click.command("chat", epilog="""\b
Examples:
  helexa chat
  helexa chat "Why is the sky blue?"
  git diff | helexa chat "Write a commit message for this change."
  helexa chat --base-url https://api.example.org/v1 --api-key-file key --model big "Hello"
""")  # fmt: skip
@click.argument("prompt", nargs=-1)
@click.option("--base-url", metavar="URL", envvar="HELEXA_BASE_URL", show_default=True,
              default="http://127.0.0.1:8080/v1",
              help="Base URL of an OpenAI-compatible API.")  # fmt: skip
@click.option("-m", "--model", metavar="NAME", envvar="HELEXA_MODEL",
              shell_complete=complete_model,
              help="Model to talk to [the first that is loaded].")  # fmt: skip
@click.option("--api-key-file", metavar="FILE", envvar="HELEXA_API_KEY_FILE",
              type=click.Path(path_type=Path), help="File with the API key.")  # fmt: skip
@click.option("--system", metavar="TEXT", default="", help="System message.")
@click.option("--max-tokens", type=click.IntRange(min=1), help="Longest answer, in tokens.")
@click.option("--temperature", type=Finite(0, 2), help="Randomness, 0 to 2.")
@click.option("--timeout", "timeout_s", type=Finite(min=0.1), default=300.0,
              show_default=True, help="Longest silence, in seconds.")  # fmt: skip
@click.option("--stats", is_flag=True, help="Tell tokens and times on standard error.")
@output_option
@debug_option
def chat(prompt: tuple[str, ...], output: str, **given: Any) -> None:
    """Talk to a model, here or at any OpenAI-compatible server.

    With PROMPT, or with text on standard input, answers once; else holds a conversation. Text from
    standard input follows the prompt.
    """
    client = HttpClient(
        given["base_url"],
        timeout_s=given["timeout_s"],
        headers=_authorization(given["api_key_file"]),
        hint=_HINT,
    )
    text = _question(prompt)
    if text is None and not sys.stdin.isatty():
        raise UsageError("there is nothing to ask: no PROMPT and no text on standard input",
                         error_id="HX-0706", hint='helexa chat "Hello"')  # fmt: skip
    model = given["model"] or default_model(client)
    talk = Conversation(client, SystemClock(), model, given["system"], given["max_tokens"],
                        given["temperature"])  # fmt: skip
    if text is None:
        _converse(talk, stats=given["stats"])
    else:
        _answer_once(talk, text, output, stats=given["stats"])


def _authorization(api_key_file: Path | None) -> dict[str, str]:
    if api_key_file is None:
        return {}
    from helexa.config.keys import read_foreign_key_file

    return {"authorization": f"Bearer {read_foreign_key_file(api_key_file)}"}


def _question(prompt: tuple[str, ...]) -> str | None:
    """Return the one question, or None where a person at the terminal will ask."""
    parts = [" ".join(prompt)] if prompt else []
    if not sys.stdin.isatty():
        piped = sys.stdin.read(_INPUT_CHARS_MAX + 1)
        if len(piped) > _INPUT_CHARS_MAX:
            raise UsageError(f"standard input has more than {_INPUT_CHARS_MAX} characters",
                             error_id="HX-0706")  # fmt: skip
        parts += [piped.strip("\n")] if piped.strip() else []
    return "\n\n".join(parts) if parts else None


def _answer_once(talk: Conversation, text: str, output: str, *, stats: bool) -> None:
    if output == "json":
        answer = "".join(piece.text for piece in talk.ask(text) if not piece.is_reasoning)
        timing = talk.timing
        told = {
            "model": talk.model, "content": answer, "finish_reason": timing.finish_reason,
            "prompt_tokens": timing.prompt_tokens, "completion_tokens": timing.completion_tokens,
            "first_token_s": timing.first_token_s, "total_s": timing.total_s,
        }  # fmt: skip
        click.echo(json.dumps(told, ensure_ascii=False))
        return
    _print(talk.ask(text))
    if stats:
        click.echo(talk.timing.line(), err=True)


def _print(pieces: Iterator[Piece]) -> None:
    """Print an answer as it comes, and its thinking dimmed, on standard error."""
    thinking = False
    wrote = False
    try:
        for piece in pieces:
            if piece.is_reasoning:
                click.echo(click.style(_printable(piece.text), dim=True), nl=False, err=True)
            elif thinking:
                click.echo(err=True)
            if not piece.is_reasoning:
                click.echo(_printable(piece.text), nl=False)
                wrote = True
            thinking = piece.is_reasoning
    finally:
        if wrote or thinking:
            click.echo(err=thinking)


def _printable(text: str) -> str:
    """Keep a model's text from steering the terminal; what goes to a file is left as it is."""
    if not sys.stdout.isatty() or text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in "\n\t" else "�" for char in text)


def _converse(talk: Conversation, *, stats: bool) -> None:
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  (importing it gives `input` a history and editing)
    click.echo(f"{talk.model} at {talk.client.base} (/help lists commands)", err=True)
    while True:
        try:
            line = input("> ").strip()
        except (EOFError, KeyboardInterrupt):
            click.echo(err=True)
            return
        if line.startswith("/"):
            if not _command(talk, line):
                return
        elif line:
            _turn(talk, line, stats=stats)


def _turn(talk: Conversation, line: str, *, stats: bool) -> None:
    """Answer one line of a conversation; a failed answer does not end it."""
    try:
        _print(talk.ask(line))
    except KeyboardInterrupt:
        click.echo("(stopped)", err=True)
    except HelexaError as error:
        tell_error(error, click.get_current_context().ensure_object(Telling))
    else:
        if stats:
            click.echo(talk.timing.line(), err=True)


def _command(talk: Conversation, line: str) -> bool:
    """Obey a line that starts with a slash; False to leave."""
    name, _, rest = line[1:].partition(" ")
    rest = rest.strip()
    if name in {"exit", "quit", "bye"}:
        return False
    if name == "model":
        talk.model = rest or talk.model
        click.echo(f"model: {talk.model}", err=True)
    elif name == "system":
        talk.system = rest or talk.system
        click.echo(f"system: {talk.system or '(none)'}", err=True)
    elif name == "stats":
        click.echo(talk.timing.line(), err=True)
    elif name == "clear":
        talk.forget()
        click.echo("forgotten", err=True)
    else:
        click.echo(_HELP if name == "help" else f"no such command: /{name}\n{_HELP}", err=True)
    return True
