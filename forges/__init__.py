"""From a pull request to a preview and back: the forge's webhooks in, statuses and comments out."""
