-- What happens without a record: expiry, age, the end of input, and cleaning up.

-- how far the inputs of `topics` are applied: the slowest known partition; nil when none is known
local function progress_of(positions, at_end, topics, now)
  local slowest
  for tp, time in pairs(positions) do
    if not topics or topics[topic_of(tp)] then
      if at_end[tp] then time = now end
      slowest = math.min(slowest or time, time)
    end
  end
  return slowest
end

local function known_positions(s, at_end, now)
  local out = {}
  for tp, value in pairs(pairs_of(call('HGETALL', s.tag .. ':pos'))) do out[tp] = parse_position(value)[2] end
  for tp in pairs(at_end) do out[tp] = now end
  return out
end

-- waiting halves of one side whose deadline the other side's inputs have passed
local function overdue(s, side, progress)
  if not progress then return {} end
  local limit = '(' .. text(progress - s.cfg.wait)
  return call('ZRANGEBYSCORE', s.tag .. ':exp:' .. side, '-inf', limit, 'LIMIT', 0, MANY)
end

-- a tombstone stays for `remember_s` after the deadline: the other half that comes then is late, and never waits
local function expire(s, digests)
  for _, d in ipairs(digests) do
    if s.wait[d] then
      local m = memory(s, d, s.wait[d][1][TIME])
      local h = stop_waiting(s, d)
      count(s, h[TP], 'expired', 1)
      m[M_STATE] = 'X'
      remember(s, d, m, day_of(h[TIME] + s.cfg.wait))
      drop_body(s, h)
    end
  end
end

local function seal_old(s, now)
  local names = {}
  for name in pairs(s.tracks) do names[#names + 1] = name end
  table.sort(names, smaller)
  for _, name in ipairs(names) do
    local t, rule = s.tracks[name], trigger(s, name)
    if t[OLDEST] > 0 and t[ACCEPTED] >= rule[3] and now - t[OLDEST] >= rule[2] then seal(s, name, 'age', now) end
  end
end

local function forget_days(s, progress)
  if not progress then return end
  local limit, gone = day_of(progress) - s.cfg.remember_days, {}
  for _, day in ipairs(call('SMEMBERS', s.tag .. ':days')) do
    if tonumber(day) < limit then gone[#gone + 1] = day end
  end
  for _, day in ipairs(gone) do
    call('UNLINK', s.tag .. ':seen:' .. day)
    call('SREM', s.tag .. ':days', day)
  end
end

-- ARGV: tag, rules, now_ms, MessagePack list of partitions at their end
local function tick(_, argv)
  local s, refusal = open_state(argv[1], argv[2])
  if not s then return refusal end
  local now, at_end = tonumber(argv[3]), {}
  for _, tp in ipairs(unpack_msg(argv[4])) do at_end[tp] = true end
  local positions = known_positions(s, at_end, now)
  local scores_at = progress_of(positions, at_end, s.cfg.scores, now)
  local traces = overdue(s, 'trace', scores_at)
  local scores = overdue(s, 'score', progress_of(positions, at_end, s.cfg.traces, now))
  local held = scores_at and load_holds(s, '(' .. text(scores_at - s.cfg.prefer)) or {}
  for _, digests in ipairs({ traces, scores, held }) do
    load_waiting(s, digests)
    recall(s, digests, 0)
  end
  expire(s, traces)
  expire(s, scores)
  if scores_at then end_holds(s, scores_at) end
  seal_old(s, now)

  write_state(s)
  bulk('ZREM', s.tag .. ':exp:trace', traces, 1) -- again: an entry without its half would come back for ever
  bulk('ZREM', s.tag .. ':exp:score', scores, 1)
  forget_days(s, progress_of(positions, at_end, nil, now))
  return { #traces == MANY or #scores == MANY, s.sealed }
end

-- ARGV: tag, rules. A rest of rejected runs alone stays open: nothing could be learnt from it yet.
local function seal_rest(_, argv)
  local s, refusal = open_state(argv[1], argv[2])
  if not s then return refusal end
  local names, newest = {}, 0
  for name in pairs(s.tracks) do names[#names + 1] = name end
  table.sort(names, smaller)
  for _, value in pairs(pairs_of(call('HGETALL', s.tag .. ':pos'))) do newest = math.max(newest, parse_position(value)[2]) end
  for _, name in ipairs(names) do
    local t = s.tracks[name]
    if t[ACCEPTED] > 0 or t[REVISIONS] > 0 then seal(s, name, 'idle', newest) end
  end
  write_state(s)
  return s.sealed
end

-- ARGV: tag, batch. 1 when it was sealed and is now released, 0 when it already was, -1 when there is none.
local function release(_, argv)
  local batches, released = argv[1] .. ':batches', argv[1] .. ':released'
  local blob = call('HGET', batches, argv[2])
  if not blob then return call('HEXISTS', released, argv[2]) - 1 end
  call('HSET', released, argv[2], blob)
  call('HDEL', batches, argv[2])
  return 1
end

-- ARGV: tag, batch. A released batch goes for good once its announcement has left; until then a repeat must be equal.
local function forget(_, argv)
  local released = argv[1] .. ':released'
  local blob = call('HGET', released, argv[2])
  if not blob then return 1 end
  local id = text(unpack_msg(blob)[8]) .. '-0'
  if #call('XRANGE', argv[1] .. ':outbox', id, id) > 0 then return 0 end
  call('UNLINK', argv[1] .. ':rows:' .. argv[2])
  call('HDEL', released, argv[2])
  return 1
end

-- ARGV: tag, rules. Sets the layout of a new buffer, and refuses another one.
local function hello(_, argv)
  local s, refusal = open_state(argv[1], argv[2])
  if not s then return refusal end
  write_state(s)
  return LAYOUT
end

redis.register_function('hello_@VERSION@', hello)
redis.register_function('apply_@VERSION@', apply)
redis.register_function('tick_@VERSION@', tick)
redis.register_function('seal_rest_@VERSION@', seal_rest)
redis.register_function('release_@VERSION@', release)
redis.register_function('forget_@VERSION@', forget)
