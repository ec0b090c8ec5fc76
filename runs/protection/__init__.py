"""Who may look at a preview over the router: tickets, share links, tokens for tests."""
