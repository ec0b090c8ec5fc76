"""The host names of the router: which exist, and what a preview's name says without a slot."""
