"""Masking of the secrets that applications were given, in all that is stored or shown."""
