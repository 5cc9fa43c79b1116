-- What happens without a record: expiry, age, the end of input.

-- how far the inputs of `topics` are applied: the slowest known partition; nil when none is known
local function progress_of(positions, topics)
  local slowest
  for tp, time in pairs(positions) do
    if not topics or topics[topic_of(tp)] then slowest = math.min(slowest or time, time) end
  end
  return slowest
end

-- record times, and `now` where an owner's tick found the end and no slice came since; second: what this tick has to say.
-- claims: {tp, end}, an end of -1 wherever it is; what the owner saw before a rollback counts for nothing
local function known_positions(s, claims, now)
  local out, ends = {}, {}
  local ended, stored = pairs_of(call('HGETALL', s.tag .. ':ended')), pairs_of(call('HGETALL', s.tag .. ':pos'))
  for tp, value in pairs(stored) do
    local p = parse_position(value)
    stored[tp], out[tp] = p[1], p[2]
    local next_, time = string.match(ended[tp] or '', '^(%d+) (%d+)$')
    if tonumber(next_) == p[1] then out[tp] = math.max(p[2], tonumber(time)) end
  end
  for _, claim in ipairs(claims) do
    local tp, upto = claim[1], claim[2]
    if upto < 0 or (stored[tp] and stored[tp] >= upto) then
      out[tp] = now
      if stored[tp] then
        ends[#ends + 1] = tp
        ends[#ends + 1] = text(stored[tp]) .. ' ' .. text(now)
      end
    end
  end
  return out, ends
end

local function knows_all(positions, inputs)
  for _, tp in ipairs(inputs) do
    if not positions[tp] then return false end
  end
  return true
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
      local h, scores, day = read_waiting(s.wait[d])
      stop_waiting(s, d, h)
      tally(s, h, 'expired', 1)
      local trace = h[SIDE] == 's' and '' or content_of(h)
      remember(s, d, seen_value('X', 0, 0, trace, scores, '', ''), max(day, day_of(h[TIME] + s.cfg.wait)))
      drop_body(s, h)
    end
  end
end

-- a request without a response, or the other way round; where something else of the run waits or is known, that stands for it
local function expire_lone(s, digests)
  for _, d in ipairs(digests) do
    if s.lone[d] then
      local h = read_half(s.lone[d])
      stop_alone(s, d, h)
      count(s, h[TP], 'expired', 1)
      drop_body(s, h)
      if not s.wait[d] and not memory(s, d, h[TIME]) then
        remember(s, d, seen_value('X', 0, 0, h[CONTENT], '', '', ''), day_of(h[TIME] + s.cfg.wait))
      end
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

-- ARGV: tag, rules, now_ms, MessagePack lists: partitions at their end, and all that must be known before anything expires
local function tick(_, argv)
  local s, refusal = open_state(argv[1], argv[2])
  if not s then return refusal end
  local now, said = tonumber(argv[3]), unpack_msg(argv[4])
  local positions, ends = known_positions(s, said[1], now)
  local all = knows_all(positions, said[2])
  local scores_at = all and progress_of(positions, s.cfg.scores)
  local traces = overdue(s, 'trace', scores_at)
  local scores = overdue(s, 'score', all and progress_of(positions, s.cfg.traces))
  local alone = overdue(s, 'pair', all and progress_of(positions, s.cfg.payloads))
  local held = scores_at and load_holds(s, '(' .. text(scores_at - s.cfg.prefer)) or {}
  for _, digests in ipairs({ traces, scores, held }) do load_waiting(s, digests) end
  load_lone(s, alone)
  recall(s, load_waiting(s, alone), 0)
  expire(s, traces)
  expire(s, scores)
  expire_lone(s, alone)
  if scores_at then end_holds(s, scores_at) end
  seal_old(s, now)

  local strange = write_state(s)
  if strange then return strange end
  bulk('ZREM', s.tag .. ':exp:trace', traces, 1) -- again: an entry without its half would come back for ever
  bulk('ZREM', s.tag .. ':exp:score', scores, 1)
  bulk('ZREM', s.tag .. ':exp:pair', alone, 1)
  bulk('HSET', s.tag .. ':ended', ends, 2)
  forget_days(s, all and progress_of(positions))
  return { #traces == MANY or #scores == MANY or #alone == MANY, s.sealed }
end

-- ARGV: tag, rules, MessagePack list of tracks. A rest of rejected runs alone stays open: nothing could be learnt from it
-- yet; but not in these tracks, where another shard has something to learn from.
local function seal_rest(_, argv)
  local s, refusal = open_state(argv[1], argv[2])
  if not s then return refusal end
  local names, newest, too = {}, 0, {}
  for _, name in ipairs(unpack_msg(argv[3])) do too[name] = true end
  for name in pairs(s.tracks) do names[#names + 1] = name end
  table.sort(names, smaller)
  for _, value in pairs(pairs_of(call('HGETALL', s.tag .. ':pos'))) do newest = math.max(newest, parse_position(value)[2]) end
  for _, name in ipairs(names) do
    local t = s.tracks[name]
    if t[ACCEPTED] > 0 or t[REVISIONS] > 0 or (too[name] and t[ROWS] > 0) then seal(s, name, 'idle', newest) end
  end
  return write_state(s) or s.sealed
end
