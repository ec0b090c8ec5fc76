"""What the API and the admin share: strict input, permissions, admin actions, headers."""
