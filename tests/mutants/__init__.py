"""Mutants: wrong changes that are put into a copy of the code, each of which a test must catch."""
