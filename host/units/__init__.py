"""Long-running processes with a name, kept by systemd or by a local manager."""
