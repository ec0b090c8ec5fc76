"""How much of the disk an application's files use, wherever they are."""
