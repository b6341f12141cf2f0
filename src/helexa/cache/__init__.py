"""State that outlives a restart, as checked files."""
