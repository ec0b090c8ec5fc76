"""What is recognized in an application's folder, why, and what this host lacks for it."""
