"""The one error that the pipeline shows to people."""


class E2MCError(ValueError):
    """Something the user can mend: the message says what is wrong, where, and what to do.

    The command line prints it without a traceback and exits with status 1.
    """
