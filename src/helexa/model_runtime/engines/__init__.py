"""One pure description per engine: its options, how it is started and how it is spoken to."""
