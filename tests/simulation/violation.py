"""What a broken promise raises."""


class Violation(Exception):
    """A promise was broken; the message says which and where."""
