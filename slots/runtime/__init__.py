"""A slot on the machine: backend, database, worktree, surface. It does not import Django."""
