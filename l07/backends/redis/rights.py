"""What a user of the server must be allowed, so that no step is refused in its middle. docs/redis.md has it as one ACL line."""

import re
from collections.abc import Iterable

# sent by us; the script calls others
OURS = frozenset("EXEC GET HDEL HGET HGETALL HKEYS HLEN HMGET HSET LRANGE MULTI UNLINK XDEL XLEN XRANGE ZRANGE".split())
_NAME = re.compile(r"'([A-Z]{3,})'")


def needed(script: str) -> Iterable[str]:
    """Words of the script that are no commands are among them; the server knows which."""
    return sorted(OURS | set(_NAME.findall(script)))
