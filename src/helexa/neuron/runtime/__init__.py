"""The neuron's moving parts: the supervisor of engines and the executor of requests."""
