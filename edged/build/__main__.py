"""The process that builds one plan; started by `edged.planning`, not by hand."""

from edged.build.worker import main

main()
