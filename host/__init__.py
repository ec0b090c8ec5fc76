"""The machine, without Django: processes, units, git, files, applications, PostgreSQL."""
