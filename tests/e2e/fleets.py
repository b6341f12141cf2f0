"""Several neurons that hold replicas of one model, and who of them does what."""

import asyncio
import json
import sys
import urllib.request
from collections.abc import Sequence
from typing import Any

import psutil

from tests.e2e import roles
from tests.e2e.polling import eventually
from tests.e2e.roles import ROOT, environment
from tests.e2e.stack import HOST, Stack, get


def admin(stack: Stack, path: str) -> Any:
    """Return what the admin API says; a cortex that is away knows nothing."""
    status, raw = get(stack.admin, f"/api/v1/{path}")
    return json.loads(raw) if status == 200 else {}


def post(stack: Stack, path: str) -> Any:
    """Send an empty write to the admin API."""
    request = urllib.request.Request(
        f"http://{HOST}:{stack.admin}/api/v1/{path}", b"{}", {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=5.0) as answer:
        return json.loads(answer.read())


async def helexa(stack: Stack, *arguments: str, within_s: float = 60.0) -> tuple[int, str]:
    """Run the command line against a stack; return its exit status and all that it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "helexa", *arguments, "--admin", f"{HOST}:{stack.admin}",
        cwd=ROOT, env=environment(),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(within_s):
        out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


def replicas(stack: Stack, model: str) -> list[str]:
    """Return the neurons that requests for a model may go to."""
    found = admin(stack, f"models/{model}").get("replicas", [])
    return [each["neuron"] for each in found if each["healthy"] and not each["cordoned"]]


async def settled(stack: Stack, model: str, count: int, within_s: float = 40.0) -> list[str]:
    """Wait until a model has so many replicas; return their neurons."""
    await eventually(
        lambda: len(replicas(stack, model)) == count, f"{count} replicas of {model}", within_s
    )
    return replicas(stack, model)


def neuron_state(stack: Stack, name: str) -> str:
    """Return the state in which cortex sees a neuron."""
    return str(admin(stack, f"neurons/{name}").get("state", "unknown"))


def routed(stack: Stack, request_ids: Sequence[str]) -> dict[str, str]:
    """Return the neuron that each request was last sent to, as cortex remembers it."""
    found = {}
    for name in request_ids:
        told = admin(stack, f"requests/{name}")
        chosen = [each["chosen"] for each in told.get("decisions", []) if each["chosen"]]
        found[name] = chosen[-1] if chosen else ""
    return found


def engines(stack: Stack) -> dict[str, dict[int, float]]:
    """Return each neuron's engines with their births: a reload changes one or the other."""
    return {
        name: {pid: psutil.Process(pid).create_time() for pid in roles.engines_of(role.pid)}
        for name, role in stack.neurons.items()
        if role.runs
    }
