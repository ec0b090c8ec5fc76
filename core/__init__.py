"""What every Django app needs: the database's clock, claims, prepared statements."""
