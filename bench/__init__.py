"""The speed bench: a load tool and a mock backend in C, and the harness that runs them."""
