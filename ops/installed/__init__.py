"""What the installed units get from settings, and which of them run with earlier settings."""
