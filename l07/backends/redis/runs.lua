-- What one record does to its run. Pure: reads and changes only the state of the step.

local function count(s, tp, name, n)
  local c = s.counts[tp]
  if not c then
    c = {}
    s.counts[tp] = c
  end
  c[name] = (c[name] or 0) + n
end

local function note(s, reason, n) s.reasons[reason] = (s.reasons[reason] or 0) + n end

-- of a pair each record counts in its own partition
local function tally(s, h, name, n)
  local c = s.counts[h[TP]]
  if c then c[name] = (c[name] or 0) + n else count(s, h[TP], name, n) end
  if h[REQUEST] then count(s, h[REQUEST][TP], name, n) end
end

-- its body goes: that of a new record too, which came with the others of its slice
local function drop_body(s, h)
  if h[REQUEST] then drop_body(s, h[REQUEST]) end
  local slice = slice_of(h)
  local numbers = s.drop[slice]
  if not numbers then
    numbers = {}
    s.drop[slice] = numbers
  end
  numbers[#numbers + 1] = h[PLACE]
end

local function records_of(h) return h[REQUEST] and 2 or 1 end

local function duplicate(s, h, reason)
  tally(s, h, 'duplicate', 1)
  note(s, reason, records_of(h))
  drop_body(s, h)
end

-- byte by byte: Lua's own < depends on the server's locale
local function smaller(a, b)
  for i = 1, min(#a, #b) do
    local x, y = byte(a, i), byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

-- does the score of half `a` win over that of `b`, which was there first
local function better(a, b)
  if a[CONF] ~= b[CONF] then return a[CONF] > b[CONF] end
  return smaller(tiebreak(a), tiebreak(b))
end

local function gate(s, extraction, judge)
  local why = extraction
  if judge[SCORE] < s.cfg.quality then why = why == '' and 'low_score' or why .. '\nlow_score' end
  if judge[CONF] < s.cfg.confidence then why = why == '' and 'low_confidence' or why .. '\nlow_confidence' end
  return why
end

-- count a joined run, or take it back (sign -1)
local function settle(s, why, trace, score, sign)
  local name = why == '' and 'applied' or 'rejected'
  tally(s, trace, name, sign)
  if score then tally(s, score, name, sign) end
  if why ~= '' then s.whys[why] = (s.whys[why] or 0) + sign end
end

local function settle_row(s, t, why, trace, score, sign)
  local slot = why == '' and ACCEPTED or REJECTED
  t[slot] = t[slot] + sign
  settle(s, why, trace, score, sign)
end

local function add_row(s, track, t, row, at)
  local batch = s.open[track] or open_batch(s, track)
  local new, index = s.new[batch], t[ROWS]
  if not new then
    new = { base = index }
    s.new[batch] = new
  end
  new[index - new.base + 1] = row
  t[ROWS] = index + 1
  if t[OLDEST] == 0 or at < t[OLDEST] then t[OLDEST] = at end
  return t[NUMBER], index
end

local function seal(s, track, cause, at)
  local t, batch = track_of(s, track), open_batch(s, track)
  s.outseq = s.outseq + 1
  s.seals[#s.seals + 1] = batch
  s.seals[#s.seals + 1] = pack({ track, t[NUMBER], cause, at, t[ACCEPTED], t[REJECTED], t[ROWS], s.outseq })
  s.outbox[#s.outbox + 1] = { text(s.outseq), 'seal', batch }
  s.sealed[#s.sealed + 1] = batch
  s.tracks[track] = { t[NUMBER] + 1, 0, 0, 0, 0, 0 }
  s.open[track] = nil
end

-- count, age in ms, smallest count for it, rejected runs that an open batch keeps
local function trigger(s, track) return s.cfg.tracks[track] or s.cfg.fallback end

local function seal_when_full(s, track, t, at)
  if t[ACCEPTED] >= trigger(s, track)[1] then seal(s, track, 'count', at) end
end

local function remember(s, d, value, day)
  local known = s.mem_new[d] or s.mem_day[d]
  s.mem[d], s.mem_new[d] = value, known and known > day and known or day
end

local function remember_more(s, d, m, day)
  local what = { m[M_TRACE], m[M_SCORES], m[M_TRACK], m[M_REASON] }
  remember(s, d, seen_value(m[M_STATE], m[M_NUMBER], m[M_INDEX], unpack(what)), day)
end

local function knows_score(scores, content)
  for i = 1, #scores, 8 do
    if sub(scores, i, i + 7) == content then return true end
  end
  return false
end

local function with_score(scores, content)
  return scores == '' and content or sub(scores .. content, -8 * SCORES_KEPT)
end

-- what is known at this record's time of a run that waits no more; a memory older than `remember_s` is none
local function memory(s, d, time)
  local value = s.mem[d]
  if value and (s.mem_new[d] or s.mem_day[d]) >= day_of(time) - s.cfg.remember_days then return read_seen(value) end
end

local function stop_waiting(s, d, h)
  tally(s, h, 'waiting', -1)
  s.held = s.held - h[BYTES]
  s.wait[d] = nil
  s.wait_dirty[d] = h
end

-- `value`: the half as it came, where nothing of its run was known
local function start_waiting(s, d, h, value)
  tally(s, h, 'waiting', 1)
  s.held = s.held + h[BYTES]
  s.wait[d], s.wait_dirty[d] = value, h
end

-- a rejected run that has no room: counted, and its bodies go; a better score that comes for it later is a duplicate
local function leave_out(s, d, why, trace, score, scores, day)
  settle(s, why, trace, score, 1)
  note(s, 'contrast_full', 1)
  drop_body(s, trace)
  if score then drop_body(s, score) end
  remember(s, d, seen_value('F', 0, 0, content_of(trace), scores, '', ''), day)
end

-- `score` nil: the trace carries its own
local function join(s, d, trace, score, scores, day, at)
  local track, reason = track_name(trace), reason_of(trace)
  local why, t = gate(s, reason, score or trace), track_of(s, track)
  if why ~= '' and t[REJECTED] >= trigger(s, track)[4] then
    return leave_out(s, d, why, trace, score, scores, day)
  end
  local number, index = add_row(s, track, t, row_value(why, trace, score, false), at)
  remember(s, d, seen_value('J', number, index, content_of(trace), scores, track, reason), day)
  settle_row(s, t, why, trace, score, 1)
  seal_when_full(s, track, t, at)
end

local function hold(s, d, h)
  local entry, at = { h[TIME], d }, #s.holds + 1
  while at > 1 and (s.holds[at - 1][1] > h[TIME] or (s.holds[at - 1][1] == h[TIME] and smaller(d, s.holds[at - 1][2]))) do
    at = at - 1
  end
  table.insert(s.holds, at, entry)
end

local function same_trace(content, h) return content == content_of(h) and 'repeat' or 'trace_conflict' end

-- the other half, or another trace, waits
local function trace_of_waiting(s, d, h)
  local w, scores, day = read_waiting(s.wait[d])
  if w[SIDE] ~= 's' then return duplicate(s, h, same_trace(content_of(w), h)) end
  stop_waiting(s, d, w)
  if h[SIDE] == 'b' and s.cfg.prefer == 0 and better(h, w) then
    duplicate(s, w, 'score_superseded')
    w = nil
  end
  join(s, d, h, w, scores, max(day, day_of(h[TIME])), h[TIME])
end

local function apply_trace(s, d, h)
  if s.wait[d] then return trace_of_waiting(s, d, h) end
  local m = memory(s, d, h[TIME])
  if m and m[M_TRACE] ~= '' then return duplicate(s, h, same_trace(m[M_TRACE], h)) end
  if m then
    m[M_TRACE] = content_of(h)
    remember_more(s, d, m, day_of(h[TIME]))
    return duplicate(s, h, 'late')
  end
  if h[SIDE] == 'b' and s.cfg.prefer == 0 then
    return join(s, d, h, nil, '', day_of(h[TIME]), h[TIME])
  end
  start_waiting(s, d, h, h[PACKED])
  if h[SIDE] == 'b' then hold(s, d, h) end
end

local function stop_alone(s, d, h)
  count(s, h[TP], 'waiting', -1)
  s.held = s.held - h[BYTES]
  s.lone[d], s.lone_dirty[d] = nil, h
end

local function start_alone(s, d, h)
  count(s, h[TP], 'waiting', 1)
  s.held = s.held + h[BYTES]
  s.lone[d], s.lone_dirty[d] = h[PACKED], h
end

-- a request or a response of a run whose trace is known: of a pair, what came from the same side tells
local function same_part(known, h, otherwise)
  if #known > 8 then known = h[SIDE] == SAYS and sub(known, 1, 8) or sub(known, 9) end
  return known == h[CONTENT] and 'repeat' or otherwise
end

local function part_of_known(s, d, h, m)
  if m[M_TRACE] ~= '' then
    return duplicate(s, h, same_part(m[M_TRACE], h, m[M_STATE] == 'X' and 'late' or 'trace_conflict'))
  end
  m[M_TRACE] = h[CONTENT]
  remember_more(s, d, m, day_of(h[TIME]))
  duplicate(s, h, 'late')
end

-- request and response: the first waits alone, the second makes them one trace
local function apply_part(s, d, h)
  local other = s.lone[d] and read_half(s.lone[d])
  if other and other[SIDE] == h[SIDE] then return duplicate(s, h, same_trace(other[CONTENT], h)) end
  if other then
    stop_alone(s, d, other)
    local response, request = h, other
    if h[SIDE] == ASKS then response, request = other, h end
    response[PACKED] = response[PACKED] .. request[PACKED]
    return apply_trace(s, d, with_request(response, request))
  end
  local w = s.wait[d] and read_waiting(s.wait[d])
  if w and w[SIDE] ~= 's' then return duplicate(s, h, same_part(content_of(w), h, 'trace_conflict')) end
  local m = not w and memory(s, d, h[TIME])
  if m then return part_of_known(s, d, h, m) end
  start_alone(s, d, h)
end

-- of an open batch: pushed in this step, or loaded
local function find_row(s, m)
  local batch = open_batch(s, m[M_TRACK])
  local new = s.new[batch]
  if new and m[M_INDEX] >= new.base then return new, m[M_INDEX] - new.base + 1 end
  s.old_dirty[batch] = s.old_dirty[batch] or {}
  return s.old[batch], m[M_INDEX], s.old_dirty[batch]
end

local function second_score(s, m, h)
  local rows, index, dirty = find_row(s, m)
  local t = track_of(s, m[M_TRACK])
  local why, trace, score = read_row(rows[index])
  if not better(h, score or trace) then return duplicate(s, h, 'score_superseded') end
  settle_row(s, t, why, trace, score, -1)
  if score then duplicate(s, score, 'score_superseded') end
  why = gate(s, reason_of(trace), h)
  rows[index] = row_value(why, trace, h, false)
  if dirty then dirty[index] = true end
  settle_row(s, t, why, trace, h, 1)
  seal_when_full(s, m[M_TRACK], t, h[TIME])
end

local function revise(s, m, h)
  local t = track_of(s, m[M_TRACK])
  t[REVISIONS] = t[REVISIONS] + 1
  add_row(s, m[M_TRACK], t, row_value(gate(s, m[M_REASON], h), nil, h, true), h[TIME])
  count(s, h[TP], 'applied', 1)
  note(s, 'revision', 1)
end

local function score_of_waiting(s, d, h)
  local w, scores, day = read_waiting(s.wait[d])
  if knows_score(scores, h[CONTENT]) then return duplicate(s, h, 'repeat') end
  scores, day = with_score(scores, h[CONTENT]), max(day, day_of(h[TIME]))
  if w[SIDE] ~= 's' then
    stop_waiting(s, d, w)
    return join(s, d, w, h, scores, day, h[TIME])
  end
  if not better(h, w) then
    s.wait[d], s.wait_dirty[d] = waiting_value(w, scores, day), w
    return duplicate(s, h, 'score_superseded')
  end
  stop_waiting(s, d, w)
  duplicate(s, w, 'score_superseded')
  start_waiting(s, d, h, waiting_value(h, scores, day))
end

local function apply_score(s, d, h)
  if s.wait[d] then return score_of_waiting(s, d, h) end
  local m = memory(s, d, h[TIME])
  if not m then return start_waiting(s, d, h, h[PACKED]) end
  if knows_score(m[M_SCORES], h[CONTENT]) then return duplicate(s, h, 'repeat') end
  m[M_SCORES] = with_score(m[M_SCORES], h[CONTENT])
  remember_more(s, d, m, day_of(h[TIME]))
  if m[M_STATE] == 'X' then return duplicate(s, h, 'late') end
  if m[M_STATE] == 'F' then return duplicate(s, h, 'contrast_full') end
  if m[M_NUMBER] == track_of(s, m[M_TRACK])[NUMBER] then return second_score(s, m, h) end
  return revise(s, m, h)
end

-- traces whose wait for a better score is over: `progress` of the scores has passed it
local function end_holds(s, progress)
  while s.holds[1] and s.holds[1][1] + s.cfg.prefer < progress do
    local time, d = unpack(table.remove(s.holds, 1))
    local w, scores, day
    if s.wait[d] then w, scores, day = read_waiting(s.wait[d]) end
    if w and w[SIDE] == 'b' then
      stop_waiting(s, d, w)
      join(s, d, w, nil, scores, max(day, day_of(time + s.cfg.prefer)), time + s.cfg.prefer)
    end
  end
end
