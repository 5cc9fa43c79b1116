"""Datasets (E7101-E7149) and the loop as an object (E7300-E7309)."""

from l07.errors.fates import Fatal, Refused, Transient


class TooFewGroups(Refused):
    """There are too few groups of accepted runs for a dataset; the batch waits and joins the next."""

    code = "E7101"


class DatasetChanged(Fatal):
    """A file of a published dataset is not what its manifest says."""

    code = "E7102"


class DatasetUnreadable(Fatal):
    """A dataset's manifest is missing, is no JSON, or is of a schema that this release does not know."""

    code = "E7103"


class CuratorDied(Transient):
    """The worker process that builds datasets was killed."""

    code = "E7104"


class GoldenUnreadable(Fatal):
    """A track's golden set is missing, or a line of it cannot be read."""

    code = "E7105"


class DatasetConflict(Fatal):
    """A folder stands in the place of a version that was built from other batches."""

    code = "E7106"


class NoScanner(Fatal):
    """A scanner that the settings name is not there, is not callable, or answers with what it may not (spans of the text; a number 0-1)."""

    code = "E7107"


class ServiceNotOpen(Refused):
    """The learning service is not open: `initialize` was not awaited, or `cleanup` was."""

    code = "E7302"
