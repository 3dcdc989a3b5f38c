"""What to attach to: parsing, wildcards, argument positions."""
