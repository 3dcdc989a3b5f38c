"""What an event is: its sections, its JSON, its text, its file.

No BPF, no click, no access to the host.
"""
