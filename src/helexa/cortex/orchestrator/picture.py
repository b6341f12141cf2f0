"""Everything that the view of one model is made from, as of one moment. Pure."""

from collections.abc import Collection, Mapping

from helexa.cortex.orchestrator.accounts import Accounts
from helexa.cortex.orchestrator.board import Board
from helexa.cortex.orchestrator.constraints import may_take
from helexa.cortex.orchestrator.holding import holds, is_awaited
from helexa.cortex.orchestrator.placement import Placement, offer
from helexa.cortex.orchestrator.snapshot import DesiredModel, Instance, NeuronView, Outlook
from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.model import ModelConfig

Where = list[tuple[NeuronView, Instance]]


class Picture:
    """Everything that the view of one model is made from.

    `holders` are the neurons that have an instance of a model. Where models could go is worked
    out only for one that needs it.
    """

    def __init__(
        self,
        desired: Mapping[ModelId, DesiredModel],
        neurons: Mapping[NeuronId, NeuronView],
        holders: Mapping[ModelId, Collection[NeuronId]],
        outlook: Outlook,
        accounts: Accounts,
        now: float,
    ) -> None:
        self.desired = desired
        self.neurons = neurons
        self.holders = holders
        self.outlook = outlook
        self.now = now
        self._accounts = accounts
        self._board: Board | None = None
        self._to_come: list[NeuronView] | None = None

    @property
    def board(self) -> Board:
        """Return the fleet's memory and places."""
        if self._board is None:
            self._accounts.update(self.neurons, self.now)
            self._board = Board(self._accounts, self.desired, self.outlook, self.now)
        return self._board

    def where(self, model_id: ModelId) -> Where:
        """Return the neurons that have an instance of a model, by id."""
        held = sorted(self.holders.get(model_id, ()))
        return [(self.neurons[key], self.neurons[key].instances[model_id]) for key in held]

    def place(self, config: ModelConfig) -> Placement:
        """Return where one more replica of a model could go now."""
        return offer(self._model(config), self.board)

    def _model(self, config: ModelConfig) -> DesiredModel:
        model = self.desired.get(config.id)
        return model or DesiredModel(config, config.digest(), demanded=True)

    def expected_on(self, config: ModelConfig) -> list[NeuronId]:
        """Return the first neuron that is not back since cortex restarted, and has the model or
        may take it; none where nothing says so."""
        if self._to_come is None:
            self._to_come = [n for n in self.board.in_waiting() if is_awaited(n, self.now)]
        model = self._model(config)
        for neuron in self._to_come:
            if holds(neuron, config.id, self.now) or may_take(model, neuron, self.board):
                return [neuron.descriptor.id]
        return []
