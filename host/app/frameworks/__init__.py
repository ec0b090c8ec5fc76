"""What the frameworks of applications expect, read from the files of a tree."""
