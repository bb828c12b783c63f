"""Inspection: what a line decides by: measures of what was found, rules over them, and their results.

It owns numbers and decisions, and neither sockets nor clocks: every time is an argument.
"""
