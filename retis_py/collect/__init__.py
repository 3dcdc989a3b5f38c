"""From a running kernel to raw records, and from those to events."""
