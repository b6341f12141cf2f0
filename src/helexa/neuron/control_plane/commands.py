"""Provisioning commands in their order: one line per model, and different models at once.

A line outlives the connection that a command came by: what was accepted is done, and only its
answer is lost, which the neuron's next report makes up for.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from helexa.protocol.control import Provisioning, ProvisioningResponse, UpsertModelConfig
from helexa.protocol.ids import ModelId
from helexa.protocol.ports import NeuronControl
from helexa.util.logging import get
from helexa.util.tasks import TaskScope

WAITING_MAX: Final = 1024
Reply = Callable[[ProvisioningResponse], None]


class CommandLines:
    """Applies commands through `control`; every command is answered by its `reply`, once."""

    def __init__(
        self, control: NeuronControl, tasks: TaskScope, waiting_max: int = WAITING_MAX
    ) -> None:
        self._control = control
        self._tasks = tasks
        self._waiting_max = waiting_max
        self._waiting = 0
        self._lines: dict[ModelId, deque[tuple[Provisioning, Reply]]] = {}
        self._log = get("control_plane")

    def __len__(self) -> int:
        """Commands that are not answered yet."""
        return self._waiting

    def submit(self, message: Provisioning, reply: Reply) -> None:
        """Put a command at the end of its model's line; refused when too many wait."""
        model_id = _model_of(message)
        if self._waiting >= self._waiting_max:
            because = f"{self._waiting} commands are waiting already"
            reply(_refusal(message, because))
            return
        self._waiting += 1
        line = self._lines.get(model_id)
        if line is not None:
            line.append((message, reply))
            return
        self._lines[model_id] = deque([(message, reply)])
        self._tasks.start(self._work(model_id), f"commands for {model_id}")

    async def _work(self, model_id: ModelId) -> None:
        line = self._lines[model_id]
        try:
            while line:
                message, reply = line.popleft()
                try:
                    reply(await self._apply(message))
                finally:
                    self._waiting -= 1
        finally:
            self._waiting -= len(line)
            del self._lines[model_id]

    async def _apply(self, message: Provisioning) -> ProvisioningResponse:
        kind = type(message.command).__struct_config__.tag
        log = self._log.bind(
            command=kind, command_id=message.command_id, model_id=_model_of(message)
        )
        try:
            response = await self._control.provision(
                message.command_id, message.command, message.cause
            )
        except Exception:  # a command that meets a bug is answered, and the next one is tried
            log.exception("provisioning_failed")
            return _refusal(message, "a fault of this neuron; its log has the details")
        log.info("provisioning", accepted=response.accepted, because=response.because)
        return response


def _model_of(message: Provisioning) -> ModelId:
    command = message.command
    return command.config.id if isinstance(command, UpsertModelConfig) else command.model_id


def _refusal(message: Provisioning, because: str) -> ProvisioningResponse:
    return ProvisioningResponse(
        command_id=message.command_id,
        model_id=_model_of(message),
        accepted=False,
        because=because,
    )
