"""Settings (E7500-E7549) and the command line (E7900-E7949)."""

from l07.errors.fates import Fatal, Refused


class UnknownSetting(Fatal):
    """A setting's name is not known."""

    code = "E7500"


class BadSetting(Fatal):
    """A setting's value does not fit, or the settings file cannot be read."""

    code = "E7501"


class InputMissing(Refused):
    """A file that was named cannot be opened."""

    code = "E7900"


class InputBroken(Refused):
    """A file to send is no gzip although its name says so, or ends in the middle; what stands before that was sent."""

    code = "E7901"


class LinesTooLong(Refused):
    """Lines above 16 MiB were not sent; all others were."""

    code = "E7902"


class NothingByThatName(Refused):
    """There is no dataset, job, model or dead letter of that name."""

    code = "E7903"


class OriginalGone(Refused):
    """The record behind a dead letter was too long to keep, and its source no longer has it."""

    code = "E7904"


class LedgerDiffers(Refused):
    """A ledger is not what it was when its entries were announced."""

    code = "E7905"


class DemoFolderTaken(Refused):
    """The demo's folder holds something that is not a demo's."""

    code = "E7906"


class ReplayBeyond(Refused):
    """A replay into the buffer begins behind what is stored there, and would leave a gap."""

    code = "E7907"


class BadReplay(Refused):
    """What a replay was asked for makes no sense: its beginning, its filter, or both together."""

    code = "E7908"


class NothingToReplay(Refused):
    """None of the topics that a replay names is on the bus."""

    code = "E7909"


class OutputTaken(Refused):
    """Something stands where an export goes."""

    code = "E7920"


class BadExport(Refused):
    """What an export was asked for makes no sense: one file for several splits, or an order that the format has not."""

    code = "E7921"


class NothingToExport(Refused):
    """No row of a version fits the format that an export was asked for."""

    code = "E7922"


class BadAudit(Refused):
    """What an audit was asked to plant, to label or to read makes no sense; the message has the choices."""

    code = "E7910"


class BadTraining(Refused):
    """What a training was asked for makes no sense: its track, its method, or an option; the message has the choices."""

    code = "E7911"
