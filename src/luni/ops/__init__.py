"""What the command line runs: replay, demo, chat, doctor, sessions. Nothing here is imported by ``import luni``."""
