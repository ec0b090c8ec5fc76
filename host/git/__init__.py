"""Git: the control plane's bare repository, and what git may be given."""
