"""The page: what the daemons of a machine do, drawn from their public bus; with `--operate` also acts, by person."""
