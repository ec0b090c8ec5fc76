"""Mail that previews send: the SMTP sink that receives it, and the messages as people see them."""
