"""Production on this machine: processes, database, health gate, current link."""
