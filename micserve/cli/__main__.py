"""`python -m micserve.cli`: the command line where nothing was installed, as in a container."""

from micserve.cli import main

main()
