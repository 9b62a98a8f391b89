"""What can go wrong, as exceptions that say what was wrong, where, and what to do."""


class AsrError(Exception):
    """Base of every error that Rill raises on purpose.

    The message is one line that a user can act on. The command line prints it to standard error
    and ends with `exit_code`.
    """

    exit_code = 1


class UsageError(AsrError):
    """The call itself is wrong: an unknown option value, an impossible combination."""

    exit_code = 2


class AudioError(AsrError):
    """Audio that cannot be read, decoded or resampled."""


class ModelError(AsrError):
    """A model folder that is missing, damaged, or does not fit together."""


class DeviceError(AsrError):
    """A microphone or an execution provider that is not there."""


class GraphError(AsrError):
    """A lexicon, language model or search graph that cannot be built or loaded."""


class TrainingError(AsrError):
    """Training that cannot start or go on: bad configuration, bad data, loss that is not finite."""


class ExportError(AsrError):
    """An exported model that differs from the one it was made from."""
