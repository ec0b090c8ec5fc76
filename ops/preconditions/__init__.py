"""What the preflight finds out about the folder, the git remote and the network."""
