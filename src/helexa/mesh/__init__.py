"""The overlay between the cortexes of several operators."""
