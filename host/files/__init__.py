"""Files: atomic writes, safe paths, ownership, locks and logs."""
