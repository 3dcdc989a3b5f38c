"""Every error that retis raises for a person to read.

The tree::

    RetisError                  something failed; the command exits with 1
    ├── UsageError              the command line or a profile asks for nonsense; exits with 2
    │   └── ProfileError        a profile file: names the file and the key
    ├── EventFileError          an event file cannot be opened, read, decoded or written; also a
    │                           RuntimeError, which is what retis's Python library raises
    └── MissingPrerequisite     this machine lacks something (kernel option, module, privilege,
        │                       package); skips an ``auto`` collector and fails a named one
        └── MissingPackage      a Python package that only some uses need; also an ImportError

Each message is one line that says what failed, why, and what to do next. This module imports
nothing, so that every other may import it.
"""

OUT_OF_MEMORY = "memory is short: let more of it be used (ulimit -v, a container's limit)"


class RetisError(Exception):
    """Base of all errors that are worded for people.

    ``exit_code`` is what the command line exits with.
    """

    exit_code = 1


class UsageError(RetisError):
    """What was asked for makes no sense, whatever the machine."""

    exit_code = 2


class ProfileError(UsageError):
    """A profile cannot be found, read or applied."""


class EventFileError(RetisError, RuntimeError):
    """An event file cannot be opened, read, decoded or written."""


class MissingPrerequisite(RetisError):  # noqa: N818 (the name says what is wrong)
    """What was asked for needs something that this machine lacks."""


class MissingPackage(MissingPrerequisite, ImportError):  # noqa: N818 (the name says what is wrong)
    """An optional Python package is not installed."""
