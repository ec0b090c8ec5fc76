"""The PostgreSQL server of the stack: the embedded one or the distribution's."""
