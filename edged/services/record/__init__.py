"""Record: what happened around a stop, a FAIL, a rollback or an alarm, as MCAP, from the public bus alone."""
