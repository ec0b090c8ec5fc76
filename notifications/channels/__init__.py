"""The program that delivers one notification, by a webhook, a chat service or e-mail. No Django."""
