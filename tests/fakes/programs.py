"""Stand-ins for the port that runs programs, and a plain real one."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path


async def run_program(argv: Sequence[str], timeout_s: float) -> tuple[int, str]:
    """Really run it, with this process's environment."""
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), timeout_s)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, output.decode(errors="replace")[-8000:]


class FakePip:
    """Knows some wheels by `name==version`; writes the asked one where pip would.

    `gate`, when given, is waited for in the middle of each run.
    """

    def __init__(self, wheels: dict[str, bytes], gate: asyncio.Event | None = None) -> None:
        self.wheels = wheels
        self.calls: list[tuple[str, ...]] = []
        self.running = asyncio.Event()
        self.answer: Callable[[], tuple[int, str]] | None = None
        self._gate = gate

    async def __call__(self, argv: Sequence[str], timeout_s: float) -> tuple[int, str]:
        assert timeout_s > 0
        self.calls.append(tuple(argv))
        self.running.set()
        if self._gate is not None:
            await self._gate.wait()
        if self.answer is not None:
            return self.answer()
        wanted = argv[-1]
        if wanted not in self.wheels:
            return 1, f"Looking…\nERROR: No matching distribution found for {wanted}\n"
        folder = next(a for a in argv if a.startswith("--dest=")).removeprefix("--dest=")
        name, _, version = wanted.partition("==")
        (Path(folder) / f"{name}-{version}-py3-none-any.whl").write_bytes(self.wheels[wanted])
        return 0, "Saved\n"
