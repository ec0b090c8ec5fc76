"""Production's background processes: a deployment replaces them, a check keeps them running."""
