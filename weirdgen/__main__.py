"""`python -m weirdgen` is the command `weirdgen`."""

from weirdgen.cli import main

main()
