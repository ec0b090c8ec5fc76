"""The base of the API and the admin: strict input, errors, permissions, admin actions, headers."""
