"""Comparisons besides that of a run with its target branch, such as that of two releases."""
