"""The one place that spawns: engines and programs, each under a guard that outlives nobody."""
