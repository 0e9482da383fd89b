"""The one exception that is meant for the user's eyes."""


class InputError(ValueError):
    """Something the user gave is wrong: the message is one line that names the file, row or option, and the remedy.

    The command line prints the message and exits with code 2; a traceback of any other exception is a bug of ours.
    """
