"""Events to output. Needs neither root nor BCC."""
