"""What cortex shows of its fleet: metrics, and plain values for people and tools."""
