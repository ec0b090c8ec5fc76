"""Logs as answers: whole, by ranges, by pages of lines, and the lines that have a text."""
