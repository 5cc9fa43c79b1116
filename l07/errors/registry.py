"""Ledgers, seals, registry (E7200-E7249)."""

from l07.errors.fates import Fatal, Refused


class LedgerBroken(Fatal):
    """An entry of a ledger is missing, or is not the one that was written."""

    code = "E7200"


class UnknownModel(Refused):
    """There is no model of that name and version."""

    code = "E7210"


class MoveNotAllowed(Refused):
    """A model cannot go from its stage to that one."""

    code = "E7211"


class NotDeployable(Refused):
    """The last verdict on these very files is not DEPLOY, or there is none."""

    code = "E7212"


class SimulatedArtifact(Refused):
    """A model that was not really trained passes no gate."""

    code = "E7213"


class ReleaseIncomplete(Refused):
    """PRODUCTION needs approvals and a canary that are not there."""

    code = "E7214"


class NotForGateway(Refused):
    """A model below STAGING, withdrawn or tainted goes to no gateway unless a person insists."""

    code = "E7215"


class GatewayUnfit(Refused):
    """A model is not of a kind that this gateway or loader takes."""

    code = "E7216"


class GatewayRefused(Refused):
    """A gateway did not answer, said no, or does not list a model that it was told of."""

    code = "E7217"


class SealMissing(Refused):
    """A model's manifest or signature is missing."""

    code = "E7220"


class SealUnreadable(Refused):
    """A model's manifest or signature is not one that this release writes."""

    code = "E7221"


class SignedByAnother(Refused):
    """A model was signed with another key than ours."""

    code = "E7222"


class SignatureForged(Refused):
    """A signature does not fit the manifest that it stands beside."""

    code = "E7223"


class SealOfAnother(Refused):
    """A folder carries the seal of another model or version, or other files than were registered."""

    code = "E7224"


class FileChanged(Refused):
    """A sealed file is not what it was."""

    code = "E7225"


class FileMissing(Refused):
    """A sealed file is gone."""

    code = "E7226"


class KeyExposed(Fatal):
    """Others than its owner may use the signing key."""

    code = "E7227"


class KeyUnreadable(Fatal):
    """The signing key cannot be made or read, or is no EC P-256 key."""

    code = "E7228"


class Unsealable(Refused):
    """A folder cannot be sealed: it is empty, or holds something that is no plain file."""

    code = "E7229"


class FileExtra(Refused):
    """A sealed folder holds a file that was not there when it was sealed."""

    code = "E7230"
