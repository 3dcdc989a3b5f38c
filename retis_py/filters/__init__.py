"""What the user's filter expressions mean, as C for the program."""
