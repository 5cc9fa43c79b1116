"""The buffer on Redis 7+ or Valkey: one atomic step a batch, as a function library on the server."""

from l07.backends.redis.buffer import RedisBuffer
from l07.backends.redis.client import connect, connect_socket
from l07.backends.redis.rules import BufferRules, SealTrigger

__all__ = ["BufferRules", "RedisBuffer", "SealTrigger", "connect", "connect_socket"]
