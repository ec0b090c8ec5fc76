"""Comments of people on a run and on the lines that it changes, kept with their commit."""
