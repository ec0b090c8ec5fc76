"""Processes: starting, identifying and ending them, and the owners of sockets."""
