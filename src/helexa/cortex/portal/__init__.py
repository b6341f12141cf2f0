"""The web page for people: what is up and what is not, read-only, without scripts."""
