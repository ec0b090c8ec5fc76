"""URLs without the passwords in them."""

import re

# Of http and https a user may be a token; of others, such as ssh, it is a part of the address.
# A password may have an @ that its author should have escaped: it ends at the last one.
USER_INFO = re.compile(r"(?<=https://)[^/\s]*@|(?<=http://)[^/\s]*@|:[^/\s]*(?=@)")


def hide_password(text: str) -> str:
    """Return a URL, or a text with URLs, as it may be shown."""
    return USER_INFO.sub("", text)
