"""Carries the orchestrator's commands out: the only place where they become effects."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final

from helexa.cortex.control_plane.links import Links
from helexa.cortex.orchestrator.commands import (
    AcceptNeuron,
    AskCapabilities,
    CloseConnection,
    Command,
    Provision,
    Remark,
)
from helexa.cortex.orchestrator.events import CommandUndelivered, Event
from helexa.protocol.control import (
    Provisioning,
    ProvisioningCommand,
    ProvisioningResponse,
    RequestCapabilities,
    ShutdownNotice,
)
from helexa.protocol.ids import CommandId, ModelId, NeuronId
from helexa.util.errors import NotFoundError, TimedOutError, UnreachableError

ANSWERS_AWAITED_MAX: Final = 1024


class Dispatcher:
    """Sends commands over links.

    `cortex_id` names this run of cortex: neurons are told it, and command ids begin with it.
    """

    def __init__(
        self,
        links: Links,
        report: Callable[[Event], None],
        logger: Any,
        *,
        cortex_id: str,
        heartbeat_interval_s: float,
    ) -> None:
        self._links = links
        self._report = report
        self._logger = logger
        self._cortex_id = cortex_id
        self._heartbeat_interval_s = heartbeat_interval_s
        self._asked = 0
        self._waiting: dict[CommandId, asyncio.Future[ProvisioningResponse]] = {}

    def carry_out(self, commands: Iterable[Command]) -> None:
        """Carry out commands in order. What cannot be sent is reported, never queued."""
        for command in commands:
            match command:
                case Provision():
                    self._provision(command)
                case AcceptNeuron():
                    self._accept(command)
                case AskCapabilities():
                    link = self._links.get(command.connection)
                    if link is not None:
                        link.send(RequestCapabilities())
                case CloseConnection():
                    link = self._links.get(command.connection)
                    if link is not None:
                        link.close(command.code, command.because)
                case Remark():
                    self._write(command)

    def answered(self, response: ProvisioningResponse) -> None:
        """Hand an answer to whoever waits for it."""
        future = self._waiting.pop(response.command_id, None)
        if future is not None and not future.done():
            future.set_result(response)

    async def send_provisioning_to_neuron(
        self,
        neuron_id: NeuronId,
        command: ProvisioningCommand,
        *,
        cause: str = "",
        timeout_s: float = 10.0,
    ) -> ProvisioningResponse:
        """Send one command to a neuron and return its answer.

        Raises NotFoundError if no neuron of that name is connected, UnreachableError if its
        connection takes nothing, TimedOutError if it does not answer in time.
        """
        connection = self._links.connection_of(neuron_id)
        link = self._links.get(connection) if connection is not None else None
        if link is None:
            raise NotFoundError(
                f"no neuron {neuron_id!r} is connected",
                error_id="HX-2111",
                hint="helexa status   # lists the neurons",
            )
        if len(self._waiting) >= ANSWERS_AWAITED_MAX:
            raise UnreachableError("too many commands wait for answers", error_id="HX-2114")
        self._asked += 1
        command_id = CommandId(f"{self._cortex_id}-asked-{self._asked}")
        future: asyncio.Future[ProvisioningResponse] = asyncio.get_running_loop().create_future()
        self._waiting[command_id] = future
        try:
            message = Provisioning(command_id=command_id, command=command, cause=cause)
            if not link.send(message):
                raise UnreachableError(
                    f"the connection of neuron {neuron_id!r} takes nothing", error_id="HX-2112"
                )
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError as error:
            raise TimedOutError(
                f"neuron {neuron_id!r} did not answer within {timeout_s:g} s", error_id="HX-2113"
            ) from error
        finally:
            self._waiting.pop(command_id, None)

    def say_goodbye(self, reason: str, reconnect_after_s: float) -> None:
        """Tell every neuron that cortex is leaving; they keep their models."""
        notice = ShutdownNotice(reason=reason, reconnect_after_s=reconnect_after_s)
        for _neuron_id, _connection, link in self._links.current():
            link.send(notice)

    def _accept(self, command: AcceptNeuron) -> None:
        link = self._links.accept(command.connection, command.neuron_id)
        if link is not None:
            link.welcome(self._cortex_id, self._heartbeat_interval_s)

    def _provision(self, command: Provision) -> None:
        link = self._links.get(command.connection)
        message = Provisioning(
            command_id=command.command_id, command=command.command, cause=command.cause
        )
        if link is not None and link.send(message):
            self._logger.info(
                "provisioning_sent",
                neuron_id=command.neuron_id,
                model_id=command.model_id,
                command=type(command.command).__name__,
                command_id=command.command_id,
                cause=command.cause,
            )
            return
        because = "its connection is gone" if link is None else "its connection takes nothing"
        self._report(
            CommandUndelivered(command.neuron_id, command.connection, command.command_id, because)
        )

    def _write(self, remark: Remark) -> None:
        fields: dict[str, str | NeuronId | ModelId] = {}
        if remark.neuron_id is not None:
            fields["neuron_id"] = remark.neuron_id
        if remark.model_id is not None:
            fields["model_id"] = remark.model_id
        if remark.because:
            fields["because"] = remark.because
        getattr(self._logger, remark.level)(remark.event, **fields)
