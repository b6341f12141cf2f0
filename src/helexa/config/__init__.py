"""Settings: one typed model per process, layered from defaults, file, environment and flags."""
