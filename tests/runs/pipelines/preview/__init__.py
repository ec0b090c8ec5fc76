"""Previews on real processes: isolation from each other, crashes, limits and hostile branches."""
