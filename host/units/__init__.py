"""Units: long-running processes with a name, managed by systemd or by a local manager."""
