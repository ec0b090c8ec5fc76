"""Starting, stopping and identifying processes, and the owners of sockets."""
