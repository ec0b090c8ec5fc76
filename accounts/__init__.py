"""Identity: users, tokens, authentication and the login throttle."""
