"""What the orchestrator can ask for. Values only; `control_plane.dispatch` carries them out."""

from dataclasses import dataclass
from typing import Final

from helexa.protocol.control import ProvisioningCommand
from helexa.protocol.ids import CommandId, ModelId, NeuronId

UNISSUED: Final = CommandId("")


@dataclass(frozen=True, slots=True)
class AcceptNeuron:
    """Welcome the neuron on this connection."""

    connection: int
    neuron_id: NeuronId


@dataclass(frozen=True, slots=True)
class AskCapabilities:
    """Have the neuron tell anew what it has: what it told last did not arrive."""

    connection: int
    neuron_id: NeuronId


@dataclass(frozen=True, slots=True)
class CloseConnection:
    """End a connection with a websocket close code and a reason."""

    connection: int
    code: int
    because: str


@dataclass(frozen=True, slots=True)
class Provision:
    """Send one provisioning command; `command_id` is UNISSUED until the fleet has issued it."""

    neuron_id: NeuronId
    model_id: ModelId
    command: ProvisioningCommand
    cause: str = ""
    command_id: CommandId = UNISSUED
    connection: int = 0
    makes_room_for: ModelId | None = None
    """The model is unloaded so that this one can be loaded in its place."""


@dataclass(frozen=True, slots=True)
class Remark:
    """Write one line to the log: the core has no logger of its own."""

    event: str
    level: str = "info"
    neuron_id: NeuronId | None = None
    model_id: ModelId | None = None
    because: str = ""


Command = AcceptNeuron | AskCapabilities | CloseConnection | Provision | Remark


class Outbox:
    """What is to be done, in the order in which it was found."""

    __slots__ = ("_commands",)

    def __init__(self) -> None:
        self._commands: list[Command] = []

    def put(self, command: Command) -> None:
        """Have one more thing done."""
        self._commands.append(command)

    def close(self, connection: int, code: int, because: str) -> None:
        """Have a connection closed; there is none whose number is 0."""
        if connection:
            self._commands.append(CloseConnection(connection, code, because))

    def remark(
        self,
        event: str,
        level: str,
        neuron_id: NeuronId,
        model_id: ModelId | None = None,
        because: str = "",
    ) -> None:
        """Have a line written to the log."""
        self._commands.append(Remark(event, level, neuron_id, model_id, because))

    def taken(self) -> list[Command]:
        """Return everything, and begin anew."""
        commands, self._commands = self._commands, []
        return commands
