"""What is tried on the target branch itself, to tell its faults from those of a run."""
