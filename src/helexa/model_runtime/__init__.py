"""What runs a model: interfaces, the in-memory dummy, engines and where weights come from."""
