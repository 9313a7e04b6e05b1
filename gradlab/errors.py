"""The one exception gradlab raises for what a user can put right."""


class GradlabError(ValueError):
    """Something the user can put right; the message is one line: what was wrong, where, and what to do.

    The command line prints the message alone and exits with code 2.

    Example:
        >>> raise GradlabError("checkpoint td3.zip: not a zip file; pass a file written by model.save()")
        Traceback (most recent call last):
        ...
        gradlab.errors.GradlabError: checkpoint td3.zip: not a zip file; pass a file written by model.save()
    """


def first_line(error: BaseException) -> str:
    """What an error says, on one line and with its kind.

    Example:
        >>> first_line(ValueError("no mass" + chr(10) + "at all")), first_line(KeyError())
        ('ValueError: no mass', 'KeyError')
    """
    said = str(error).strip()
    return type(error).__name__ + (f": {said.splitlines()[0].rstrip('.')}" if said else "")
