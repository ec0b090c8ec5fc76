"""The host, without Django: processes, units, git, files, applications, PostgreSQL."""
