"""How dependencies are installed: by which tool, for which interpreter, from where."""
