"""How people sign in: passwords, OpenID Connect, second factors, and their sessions."""
