"""Database pieces that every Django app uses: the clock, claims, prepared statements."""
