"""`python -m engine.cli`, the same as the command `engage`."""

from engine.cli.start import main

main()
