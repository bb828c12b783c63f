"""The simulated cell: arm, cameras, conveyor and controller, each a process that can be frozen."""
