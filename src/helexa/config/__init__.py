"""Settings of both roles: typed, layered, with every problem told at once."""
