"""The PostgreSQL servers of this host, and what they can create."""
