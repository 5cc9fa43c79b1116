"""A consumer as a service (E7800-E7809)."""

from l07.errors.fates import Fatal


class HealthPortTaken(Fatal):
    """The health pages cannot listen where the settings say."""

    code = "E7800"
