-- One batch of records, in order; all of it or nothing.
-- ARGV: tag, rules, {parts, others} as MessagePack, 16 bytes of the run's digest a half, the slice's name; then each half,
-- packed, then a message for each unreadable record, in the order of the records. The bodies are in T:in.

local FIRST = 6
local UNREADABLE = 'u' -- and 'i', ignored: where a half has its side
local TEXT = 6

-- parts: {tp, start, next, digest, time, name of the log or ''}; returns what is refused, flat, and whether some of it is known already
local function fence(s, parts)
  local tps, refused, overlaps = {}, {}, false
  for i, part in ipairs(parts) do tps[i] = part[1] end
  local stored = call('HMGET', s.tag .. ':pos', unpack(tps))
  local logs = call('HMGET', s.tag .. ':logs', unpack(tps))
  s.at = {}
  for i, part in ipairs(parts) do
    local p = stored[i] and parse_position(stored[i]) or { 0, 0, '' }
    part.have, part.stored = p[1], p
    s.at[part[1]] = part
    if p[1] > part[2] then overlaps = true end
    local other = part[6] ~= '' and part[6] ~= logs[i] -- a slice that was under way while a person said `--accept-reset`
    if part[2] > p[1] or other then
      refused[#refused + 1] = part[1]
      refused[#refused + 1] = p[1]
    end
  end
  return refused, overlaps
end

-- only those that the fence lets through; others: {place in the batch, kind, part, offset, reason}
local function live_items(s, parts, others, overlaps, argv)
  local digests, out, n, other, halves = digests_of(argv[4]), {}, 0, 1, 0
  local all = #digests
  local letter, name = FIRST + all, #parts == 1 and parts[1][1]
  for place = 1, all + #others do
    local o = others[other]
    if o and o[1] == place then
      local part = parts[o[3] + 1]
      local what = o[5]
      if o[2] == UNREADABLE then
        what = argv[letter]
        letter = letter + 1
      end
      if o[4] >= part.have then
        n = n + 1
        out[n] = { '', part[1], false, false, o[2], what }
      end
      other = other + 1
    else
      halves = halves + 1
      local h = read_half(argv[FIRST - 1 + halves], digests[halves], name)
      if not overlaps or h[OFFSET] >= s.at[h[TP]].have then
        n = n + 1
        out[n] = h
      else
        drop_body(s, h)
      end
    end
  end
  return out
end

local function load_clock(s, newest)
  if s.cfg.prefer == 0 then return {} end
  for tp, time in pairs(pairs_of(call('HGETALL', s.tag .. ':hclock'))) do s.hclock[tp] = tonumber(time) end
  for _, time in pairs(s.hclock) do newest = max(newest, time) end
  return load_holds(s, text(newest))
end

local function load_runs(s, live)
  local digests, scores, parts, n, oldest, newest = {}, {}, {}, 0, math.huge, 0
  for i = 1, #live do
    local h = live[i]
    local d = h[DIGEST]
    if d then
      local time = h[TIME]
      if time < oldest then oldest = time end
      if time > newest then newest = time end
      local side = h[SIDE]
      if side == 's' then scores[#scores + 1] = d end
      if side == ASKS or side == SAYS then parts[#parts + 1] = d end
      n = n + 1
      digests[n] = d -- a run that comes twice is looked up twice: to know that it does costs more
    end
  end
  for i, d in ipairs(load_clock(s, newest)) do digests[n + i] = d end
  if #digests == 0 then return end
  local unknown = load_waiting(s, digests)
  if oldest == math.huge then oldest = 0 end
  recall(s, unknown, day_of(oldest) - s.cfg.remember_days)
  load_rows(s, scores)
  load_lone(s, parts)
end

-- by the times of halves alone, so that it does not depend on how batches were cut
local function advance_clock(s, h)
  if not s.cfg.scores[topic_of(h[TP])] then return end
  s.hclock[h[TP]] = max(s.hclock[h[TP]] or 0, h[TIME])
  s.hclock_dirty[h[TP]] = true
  local progress = math.huge
  for _, time in pairs(s.hclock) do progress = min(progress, time) end
  end_holds(s, progress)
end

local function apply_other(s, entry)
  if entry[SIDE] == UNREADABLE then
    count(s, entry[TP], 'dead_letter', 1)
    s.outseq = s.outseq + 1
    s.outbox[#s.outbox + 1] = { text(s.outseq), 'message', entry[TEXT] }
  else
    count(s, entry[TP], 'rejected', 1)
    note(s, entry[TEXT], 1)
  end
end

local function count_consumed(s, parts, live)
  if #parts == 1 then return count(s, parts[1][1], 'consumed', #live) end
  local n = {}
  for i = 1, #live do
    local tp = live[i][TP]
    n[tp] = (n[tp] or 0) + 1
  end
  for tp, consumed in pairs(n) do count(s, tp, 'consumed', consumed) end
end

local function apply_entry(s, entry)
  local d = entry[DIGEST]
  if not d then return apply_other(s, entry) end
  if s.cfg.prefer ~= 0 then advance_clock(s, entry) end
  local side = entry[SIDE]
  if side == 's' then return apply_score(s, d, entry) end
  if side == ASKS or side == SAYS then return apply_part(s, d, entry) end
  apply_trace(s, d, entry)
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

local function net_of(s)
  local net, out = {}, {}
  for _, names in pairs(s.counts) do
    for name, n in pairs(names) do net[name] = (net[name] or 0) + n end
  end
  for name, n in pairs(net) do
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
  local refused, overlaps = fence(s, parts)
  if #refused > 0 then
    call('UNLINK', s.tag .. ':in')
    return { refused, {}, {} }
  end
  s.slice = argv[5]
  local live = live_items(s, parts, slice[2], overlaps, argv)
  load_runs(s, live)
  count_consumed(s, parts, live)
  for i = 1, #live do apply_entry(s, live[i]) end
  local positions = moved(parts)

  local strange = write_state(s)
  if strange then return strange end
  bulk('HSET', s.tag .. ':pos', positions, 2)
  return { {}, net_of(s), s.sealed }
end
