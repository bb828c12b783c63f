"""Gateways: one daemon of this machine for a PLC, a broker or a SCADA system, each a process on the client alone."""
