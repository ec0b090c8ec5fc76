"""The control plane's bare repository."""
