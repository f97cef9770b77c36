"""Errors by who must act. Every message is one line and ends with the remedy."""


class SafelightError(Exception):
    """Something the user can mend; the command line prints it on one line and exits with 2."""


class PlanError(SafelightError):
    """The plan or the command is written wrong."""


class DataError(SafelightError):
    """The pictures cannot be used as they are."""


class LoadError(SafelightError):
    """A model, its weights or one of its layers cannot be loaded."""


class RecordError(SafelightError):
    """A run folder cannot be read or written."""


class AccessError(SafelightError):
    """An attack reached for something that its threat hides, or that it did not declare."""
