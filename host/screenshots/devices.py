"""The windows in which pages are shown."""

# Width and height in pixels, by the name of the device.
DEVICES = {"desktop": (1440, 900), "phone": (390, 844)}
PHONE = "phone"
