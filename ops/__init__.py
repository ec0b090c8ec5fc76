"""Installs, starts, stops, updates and checks the whole stack. It does not import Django."""
