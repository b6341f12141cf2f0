"""What `helexa up` says: its steps while it works, and what to do next when it serves."""

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click

from helexa.cli.up_plan import UpPlan
from helexa.util.clock import Clock


class Steps:
    """Tells each step and how long it took, on standard error."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._started_s = clock.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the first step."""
        return self._clock.monotonic() - self._started_s

    @contextmanager
    def step(self, text: str) -> Iterator[list[str]]:
        """Tell that `text` begins, and at the end how long it took.

        Remarks put into the list stand behind the time.
        """
        click.echo(f"{text} …", err=True)
        started_s = self._clock.monotonic()
        remarks: list[str] = []
        yield remarks
        remark = f" ({', '.join(remarks)})" if remarks else ""
        click.echo(f"  done in {self._clock.monotonic() - started_s:.1f} s{remark}", err=True)

    def say(self, text: str) -> None:
        """Tell something in between."""
        click.echo(f"  {text}", err=True)


def facts_of(plan: UpPlan, models: Mapping[str, str], first_token_s: float) -> dict[str, Any]:
    """Return everything about a serving stack, for programs and for the next `helexa up`.

    `models` maps ids to what they were tried with: chat, completion or embeddings.
    """
    cortex = plan.cortex
    plane = cortex.control_plane.socket
    assert plane is not None
    return {
        "base_url": f"{plan.gateway_url}/v1",
        "gateway": plan.gateway_url,
        "admin": None if cortex.admin.socket is None else str(cortex.admin.socket),
        "control_plane": str(plane),
        "models": dict(models),
        "keys_needed": plan.api_key is not None,
        "first_token_s": round(first_token_s, 3),
        "state_dir": str(cortex.state_dir),
        "logs": str(plan.folder),
        "join_token_file": str(plan.token_file),
        "join_is_open": not plane.is_loopback,
        "join_command": _join_command(plan),
    }


def _join_command(plan: UpPlan) -> str:
    plane = plan.cortex.control_plane.socket
    assert plane is not None
    host = socket.gethostname() if plane.is_wildcard or plane.is_loopback else plane.host
    host = f"[{host}]" if ":" in host else host
    return (
        f"helexa neuron --cortex-control-endpoint ws://{host}:{plane.port} "
        "--join-token-file join-token --allow-cleartext"
    )


def ready_text(facts: Mapping[str, Any], heading: str, ending: str) -> str:
    """Return the words for a stack that serves. Snippets start at the margin, to be copied."""
    models: Mapping[str, str] = facts["models"]
    chosen = next((name for name, use in models.items() if use == "chat"), next(iter(models)))
    curl, python = _snippets(facts, chosen, models[chosen])
    return f"""\
{heading}

  API     {facts["base_url"]}
  models  {", ".join(models)}
  admin   {facts["admin"] or "off"}
  logs    {facts["logs"]}

# curl
{curl}

# Python (pip install openai)
{python}

# in another terminal
helexa chat{_chat_flags(facts)}
helexa status{_status_flags(facts)}

{_join_text(facts)}
{ending}
"""


def _snippets(facts: Mapping[str, Any], model: str, use: str) -> tuple[str, str]:
    path, body, call = _request(model, use)
    key = "$HELEXA_KEY" if facts["keys_needed"] else ""
    authorization = f' -H "authorization: Bearer {key}"' if key else ""
    curl = (
        f"curl {facts['base_url']}{path} -H 'content-type: application/json'{authorization} "
        f"-d '{json.dumps(body)}'"
    )
    secret = "YOUR KEY" if key else "none"
    python = (
        "from openai import OpenAI\n"
        f'client = OpenAI(base_url="{facts["base_url"]}", api_key="{secret}")\n'
        f"{call}"
    )
    return curl, python


def _request(model: str, use: str) -> tuple[str, dict[str, Any], str]:
    """Return path, body and Python call of a first request."""
    if use == "embeddings":
        call = f'print(client.embeddings.create(model="{model}", input="Hello").data[0].embedding)'
        return "/embeddings", {"model": model, "input": "Hello"}, call
    if use == "completion":
        call = (
            f'print(client.completions.create(model="{model}", prompt="Once upon a time").choices'
            "[0].text)"
        )
        return "/completions", {"model": model, "prompt": "Once upon a time"}, call
    messages = [{"role": "user", "content": "Say hello."}]
    call = (
        f'reply = client.chat.completions.create(model="{model}", messages={json.dumps(messages)})'
        "\nprint(reply.choices[0].message.content)"
    )
    return "/chat/completions", {"model": model, "messages": messages}, call


def _chat_flags(facts: Mapping[str, Any]) -> str:
    usual = facts["base_url"] == "http://127.0.0.1:8080/v1"
    flags = "" if usual else f" --base-url {facts['base_url']}"
    return flags + (" --api-key-file FILE" if facts["keys_needed"] else "")


def _status_flags(facts: Mapping[str, Any]) -> str:
    return "" if facts["admin"] == "127.0.0.1:8040" else f" --admin {facts['admin']}"


def _join_text(facts: Mapping[str, Any]) -> str:
    token = facts["join_token_file"]
    port = str(facts["control_plane"]).rpartition(":")[2]
    before = f"# on another machine, with a copy of {token} named join-token"
    if not facts["join_is_open"]:
        before += f"\n# (let others in first: helexa up --control-plane-socket :{port})"
    return f"{before}\n{facts['join_command']}\n"
