"""Facts about this host: its kernel's types, symbols, tracepoints, configuration and modules."""
