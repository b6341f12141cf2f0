"""What runs on this neuron, as a pure machine: events in, commands out. No clock, no I/O."""
