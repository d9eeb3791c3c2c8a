"""`python -m weirdgen` is the command `weirdgen`."""

from weirdgen.cli.main import main

main()
