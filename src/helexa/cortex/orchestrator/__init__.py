"""The mind of a fleet: what is true, what should be, where a request goes. Pure."""
