"""Pictures of pages: the program that drives Chromium, and what is done with its pictures."""
