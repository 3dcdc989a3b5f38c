"""The command line: one file per command, the only place that words things for people."""
