"""The command line: parse, configure, delegate."""
