-- What an owner or an operator asks for: the first call, where partitions start, releasing, cleaning up, the barrier's write.

-- ARGV: tag, batch. 1 when it was sealed and is now released, 0 when it already was, -1 when there is none.
local function release(_, argv)
  bind()
  local batches, released = argv[1] .. ':batches', argv[1] .. ':released'
  local blob = call('HGET', batches, argv[2])
  if not blob then return call('HEXISTS', released, argv[2]) - 1 end
  call('HSET', released, argv[2], blob)
  call('HDEL', batches, argv[2])
  return 1
end

-- ARGV: tag, batch. A released batch goes for good once its announcement has left; until then a repeat must be equal.
local function forget(_, argv)
  bind()
  local released = argv[1] .. ':released'
  local blob = call('HGET', released, argv[2])
  if not blob then return 1 end
  local id = text(unpack_msg(blob)[8]) .. '-0'
  if #call('XRANGE', argv[1] .. ':outbox', id, id) > 0 then return 0 end
  call('UNLINK', argv[1] .. ':rows:' .. argv[2])
  call('HDEL', released, argv[2])
  call('HDEL', argv[1] .. ':said', argv[2])
  return 1
end

-- ARGV: tag, rules. Sets the layout of a new buffer, and refuses another one.
local function hello(_, argv)
  local s, refusal = open_state(argv[1], argv[2])
  if not s then return refusal end
  return write_state(s) or LAYOUT
end

-- ARGV: tag, rules, {topic:partition -> offset}. A partition without a position gets one; a known one stays.
local function begin(_, argv)
  local s, refusal = open_state(argv[1], argv[2])
  if not s then return refusal end
  local strange = write_state(s)
  if strange then return strange end
  for tp, offset in pairs(unpack_msg(argv[3])) do call('HSETNX', s.tag .. ':pos', tp, text(offset) .. ' 0 ') end
  return 1
end

-- ARGV: tag, rules, {topic:partition -> what tells its log from another of its name}. A log without a name gets this one.
-- Answers the partitions whose log is known by another name, each with that name.
local function name_logs(_, argv)
  local s, refusal = open_state(argv[1], argv[2])
  if not s then return refusal end
  local strange = write_state(s)
  if strange then return strange end
  local others = {}
  for tp, name in pairs(unpack_msg(argv[3])) do
    if call('HSETNX', s.tag .. ':logs', tp, name) == 0 then
      local known = call('HGET', s.tag .. ':logs', tp)
      if known ~= name then
        others[#others + 1] = tp
        others[#others + 1] = known
      end
    end
  end
  return others
end

-- the same as `begin`, whatever is known; what lies before may be another log, so the last record's digest goes, and its name
-- gives way to the new one. ARGV[4]: those names.
local function reset(_, argv)
  local s, refusal = open_state(argv[1], argv[2])
  if not s then return refusal end
  local moved_to = {}
  for tp, offset in pairs(unpack_msg(argv[3])) do
    moved_to[#moved_to + 1] = tp
    moved_to[#moved_to + 1] = text(offset) .. ' 0 '
  end
  local strange = write_state(s)
  if strange then return strange end
  bulk('HSET', s.tag .. ':pos', moved_to, 2)
  local names = unpack_msg(argv[4])
  for i = 1, #moved_to, 2 do
    local tp = moved_to[i]
    if names[tp] then call('HSET', s.tag .. ':logs', tp, names[tp]) else call('HDEL', s.tag .. ':logs', tp) end
  end
  return 1
end

-- ARGV: tag. A write, so that the barrier on this connection covers every write before it; full memory does not hinder it.
local function barrier(_, argv)
  bind()
  call('SET', argv[1] .. ':barrier', '1')
  return 1
end

local function register(name, callback, flags)
  redis.register_function({ function_name = name .. '_@VERSION@', callback = callback, flags = flags or {} })
end

-- what frees memory, or lets it be freed, is done when there is none left too
local FREES = { 'allow-oom' }

register('hello', hello)
register('apply', apply)
register('tick', tick, FREES)
register('seal_rest', seal_rest, FREES)
register('release', release, FREES)
register('forget', forget, FREES)
register('erase', erase, FREES)
register('begin', begin)
register('name_logs', name_logs, FREES)
register('reset', reset)
register('barrier', barrier, FREES)
