"""`python -m helexa` is the `helexa` command."""

from helexa.cli.main import main

if __name__ == "__main__":
    main()
