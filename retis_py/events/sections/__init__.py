"""One file per section: its JSON form and its text. What holds them together is events/event.py."""
