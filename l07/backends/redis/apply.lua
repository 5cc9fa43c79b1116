-- One batch of records, in order; all of it or nothing.
-- ARGV: tag, rules, {parts, items} as MessagePack; 24 bytes a half (16 of the run's digest, 8 of its content); then a body for
-- each half and a message for each unreadable record, in the order of the items.

local HALF, UNREADABLE, IGNORED = 1, 2, 3

-- parts: {tp, start, next, digest, time}; returns what is refused, flat
local function fence(s, parts)
  local tps, refused = {}, {}
  for i, part in ipairs(parts) do tps[i] = part[1] end
  local stored = call('HMGET', s.tag .. ':pos', unpack(tps))
  for i, part in ipairs(parts) do
    local p = stored[i] and parse_position(stored[i]) or { 0, 0, '' }
    part.have, part.stored = p[1], p
    if part[2] > p[1] then
      refused[#refused + 1] = part[1]
      refused[#refused + 1] = p[1]
    end
  end
  return refused
end

-- items: {HALF, part, offset, time, key, side, track, reason, score, confidence, tiebreak, check},
--        {UNREADABLE, part, offset}, {IGNORED, part, offset, reason}; only those that the fence lets through come back
local function live_items(s, parts, items, digests, argv)
  local out, half, body = {}, 0, 4
  for _, item in ipairs(items) do
    local part = parts[item[2] + 1]
    if item[1] ~= IGNORED then body = body + 1 end
    if item[1] == HALF then half = half + 1 end
    if item[3] >= part.have then
      local entry = { kind = item[1], tp = part[1], reason = item[4], body = argv[body] }
      if item[1] == HALF then
        local at = (half - 1) * 24
        entry.d = string.sub(digests, at + 1, at + 16)
        entry.content = string.sub(digests, at + 17, at + 24)
        entry.half = { item[5], item[6], part[1], item[3], item[4], item[7], item[8], item[9], item[10], item[11], item[12] }
        s.body[entry.half] = entry.body
      end
      out[#out + 1] = entry
    end
  end
  return out
end

local function load_clock(s, newest)
  if s.cfg.prefer == 0 then return {} end
  for tp, time in pairs(pairs_of(call('HGETALL', s.tag .. ':hclock'))) do s.hclock[tp] = tonumber(time) end
  for _, time in pairs(s.hclock) do newest = math.max(newest, time) end
  return load_holds(s, text(newest))
end

local function load_runs(s, live)
  local digests, scores, known, floor, newest = {}, {}, {}, math.huge, 0
  for _, entry in ipairs(live) do
    if entry.half then
      floor = math.min(floor, day_of(entry.half[TIME]) - s.cfg.remember_days)
      newest = math.max(newest, entry.half[TIME])
      if entry.half[SIDE] == 's' then scores[#scores + 1] = entry.d end
      if not known[entry.d] then
        known[entry.d] = true
        digests[#digests + 1] = entry.d
      end
    end
  end
  for _, d in ipairs(load_clock(s, newest)) do
    if not known[d] then digests[#digests + 1] = d end
  end
  if #digests == 0 then return end
  load_waiting(s, digests)
  if floor == math.huge then floor = 0 end
  recall(s, digests, floor)
  load_rows(s, scores)
end

-- by the times of halves alone, so that it does not depend on how batches were cut
local function advance_clock(s, h)
  if s.cfg.prefer == 0 or not s.cfg.scores[topic_of(h[TP])] then return end
  s.hclock[h[TP]] = math.max(s.hclock[h[TP]] or 0, h[TIME])
  s.hclock_dirty[h[TP]] = true
  local progress = math.huge
  for _, time in pairs(s.hclock) do progress = math.min(progress, time) end
  end_holds(s, progress)
end

local function apply_entry(s, entry)
  count(s, entry.tp, 'consumed', 1)
  if entry.kind == UNREADABLE then
    count(s, entry.tp, 'dead_letter', 1)
    s.outseq = s.outseq + 1
    s.outbox[#s.outbox + 1] = { text(s.outseq), 'message', entry.body }
  elseif entry.kind == IGNORED then
    count(s, entry.tp, 'rejected', 1)
    note(s, entry.reason, 1)
  else
    advance_clock(s, entry.half)
    if entry.half[SIDE] == 's' then
      apply_score(s, entry.d, entry.half, entry.content)
    else
      apply_trace(s, entry.d, entry.half, entry.content)
    end
  end
end

local function moved(parts)
  local out = {}
  for _, part in ipairs(parts) do
    if part[3] > part.have then
      local digest, time = part[4], part[5]
      if digest == '' then digest, time = part.stored[3], part.stored[2] end
      out[#out + 1] = part[1]
      out[#out + 1] = text(part[3]) .. ' ' .. text(time) .. ' ' .. digest
    end
  end
  return out
end

local function flat(map)
  local out = {}
  for name, n in pairs(map) do
    out[#out + 1] = name
    out[#out + 1] = n
  end
  return out
end

local function apply(_, argv)
  local s, refusal = open_state(argv[1], argv[2])
  if not s then return refusal end
  local slice = unpack_msg(argv[3])
  local parts = slice[1]
  local refused = fence(s, parts)
  if #refused > 0 then return { refused, {}, {} } end
  local live = live_items(s, parts, slice[2], argv[4], argv)
  load_runs(s, live)
  for _, entry in ipairs(live) do apply_entry(s, entry) end
  local positions = moved(parts)

  write_state(s)
  bulk('HSET', s.tag .. ':pos', positions, 2)
  return { {}, flat(s.net), s.sealed }
end
