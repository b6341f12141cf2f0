"""The neuron's side of its one connection to cortex, and its own local API."""
