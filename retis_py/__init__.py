"""Packet tracing for the Linux networking stack, in Python on BCC."""

__version__ = "0.1.0"
