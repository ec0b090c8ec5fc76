"""What an application uses beside its tree and its database: storage."""
