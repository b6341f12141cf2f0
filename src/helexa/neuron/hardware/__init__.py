"""What this machine has: CPU, memory, GPUs. Read, never guessed."""
