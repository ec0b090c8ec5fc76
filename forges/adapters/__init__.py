"""One adapter for each forge: what its webhooks say, and its API's requests and answers."""
