"""Both pipelines on real parts: git, PostgreSQL, Caddy, processes, and faults at every step."""
