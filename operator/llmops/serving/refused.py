"""What ends a download for good."""


class Refused(Exception):
    """Trying again would not help."""
