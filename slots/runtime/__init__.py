"""What a slot is on the host: backend, database, worktree and surface. No Django."""
