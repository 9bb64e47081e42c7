"""`python -m engine.cli`, the same as the command `engage`."""

from engine.cli.main import main

main()
