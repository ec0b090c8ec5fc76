"""Users, API tokens, authentication and the login throttle."""
