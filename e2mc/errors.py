"""The one error that the pipeline shows to people, and the one status that is no error."""

INTERRUPTED_STATUS = 75
"""Exit status of a stage that was told to stop and has saved its state: `EX_TEMPFAIL`."""


class E2MCError(ValueError):
    """Something the user can mend: the message says what is wrong, where, and what to do.

    The command line prints it without a traceback and exits with status 1.
    """
