"""`python -m micserve`: the `micserve` program where it is not installed, as in the containers."""

from micserve.cli import main

if __name__ == "__main__":
    main()
