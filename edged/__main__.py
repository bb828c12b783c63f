"""`python -m edged`: the command line, also where no script was installed."""

from edged.cli import main

main()
