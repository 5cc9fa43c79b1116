-- What one record does to its run. Pure: reads and changes only the state of the step.

local function count(s, tp, name, n)
  local c = s.counts[tp]
  if not c then
    c = {}
    s.counts[tp] = c
  end
  c[name] = (c[name] or 0) + n
  s.net[name] = (s.net[name] or 0) + n
end

local function note(s, reason, n) s.reasons[reason] = (s.reasons[reason] or 0) + n end

local function duplicate(s, h, reason)
  count(s, h[TP], 'duplicate', 1)
  note(s, reason, 1)
end

local function keep_body(s, h) s.put[body_key(s, h)] = s.body[h] end

local function drop_body(s, h)
  local key = body_key(s, h)
  if s.put[key] then s.put[key] = nil else s.drop[#s.drop + 1] = key end
end

-- byte by byte: Lua's own < depends on the server's locale
local function smaller(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

-- does the score of half `a` win over that of `b`, which was there first
local function better(a, b)
  if a[CONF] ~= b[CONF] then return a[CONF] > b[CONF] end
  return smaller(a[TIE], b[TIE])
end

local function gate(s, extraction, score, confidence)
  local why = {}
  if extraction ~= '' then why[1] = extraction end
  if score < s.cfg.quality then why[#why + 1] = 'low_score' end
  if confidence < s.cfg.confidence then why[#why + 1] = 'low_confidence' end
  return table.concat(why, '\n')
end

-- count a joined run, or take it back (sign -1)
local function settle(s, row, sign)
  local t = track_of(s, row[ROW_TRACE][TRACK])
  local name, slot = 'applied', ACCEPTED
  if row[ROW_WHY] ~= '' then name, slot = 'rejected', REJECTED end
  count(s, row[ROW_TRACE][TP], name, sign)
  if row[ROW_SCORE] then count(s, row[ROW_SCORE][TP], name, sign) end
  t[slot] = t[slot] + sign
  for reason in string.gmatch(row[ROW_WHY], '[^\n]+') do note(s, reason, sign) end
end

local function add_row(s, track, row)
  local t = track_of(s, track)
  local batch = track .. '-' .. text(t[NUMBER])
  local new = s.new[batch]
  if not new then
    new = { base = t[ROWS] }
    s.new[batch] = new
  end
  new[#new + 1] = row
  local index = t[ROWS]
  t[ROWS] = index + 1
  if t[OLDEST] == 0 or row[ROW_TIME] < t[OLDEST] then t[OLDEST] = row[ROW_TIME] end
  return t[NUMBER], index
end

local function seal(s, track, cause, at)
  local t = track_of(s, track)
  local batch = track .. '-' .. text(t[NUMBER])
  s.outseq = s.outseq + 1
  s.seals[#s.seals + 1] = batch
  s.seals[#s.seals + 1] = pack({ track, t[NUMBER], cause, at, t[ACCEPTED], t[REJECTED], t[ROWS], s.outseq })
  s.outbox[#s.outbox + 1] = { text(s.outseq), 'seal', batch }
  s.sealed[#s.sealed + 1] = batch
  s.tracks[track] = { t[NUMBER] + 1, 0, 0, 0, 0, 0 }
end

local function trigger(s, track) return s.cfg.tracks[track] or s.cfg.fallback end

local function seal_when_full(s, track, at)
  if track_of(s, track)[ACCEPTED] >= trigger(s, track)[1] then seal(s, track, 'count', at) end
end

local function day_of(time) return math.floor(time / DAY) end

local function remember(s, d, m, day)
  m.day = math.max(m.day or day, day)
  s.mem[d] = m
  s.mem_dirty[d] = true
end

local function knows_score(scores, content)
  for i = 1, #scores, 8 do
    if string.sub(scores, i, i + 7) == content then return true end
  end
  return false
end

local function with_score(scores, content)
  return string.sub(scores .. content, -8 * SCORES_KEPT)
end

-- what is known of a run at this record's time; a memory older than `remember_s` is none
local function memory(s, d, time)
  local m = s.mem[d]
  if m and m.day >= day_of(time) - s.cfg.remember_days then return m end
  local w = s.wait[d]
  if not w then return nil end
  if w[1][SIDE] == 's' then return { 'W', '', w[2], '', 0, 0, '' } end
  return { 'W', w[2], '', '', 0, 0, '' }
end

local function stop_waiting(s, d)
  local h = s.wait[d][1]
  count(s, h[TP], 'waiting', -1)
  s.wait[d] = nil
  s.wait_dirty[d] = true
  return h
end

local function start_waiting(s, d, h, content)
  count(s, h[TP], 'waiting', 1)
  s.wait[d] = { h, content }
  s.wait_dirty[d] = true
  keep_body(s, h)
end

-- `score` nil: the trace carries its own
local function join(s, d, m, trace, score, at)
  local judge = score or trace
  local row = { trace[KEY], gate(s, trace[REASON], judge[SCORE], judge[CONF]), trace, score or false, at, false }
  m[M_STATE], m[M_TRACK], m[M_REASON] = 'J', trace[TRACK], trace[REASON]
  m[M_NUMBER], m[M_INDEX] = add_row(s, trace[TRACK], row)
  remember(s, d, m, day_of(at))
  settle(s, row, 1)
  seal_when_full(s, trace[TRACK], at)
end

local function hold(s, d, h)
  local entry, at = { h[TIME], d }, #s.holds + 1
  while at > 1 and (s.holds[at - 1][1] > h[TIME] or (s.holds[at - 1][1] == h[TIME] and smaller(d, s.holds[at - 1][2]))) do
    at = at - 1
  end
  table.insert(s.holds, at, entry)
end

local function apply_trace(s, d, h, content)
  local m = memory(s, d, h[TIME])
  if m and m[M_TRACE] ~= '' then return duplicate(s, h, m[M_TRACE] == content and 'repeat' or 'trace_conflict') end
  m = m or { 'W', '', '', '', 0, 0, '' }
  m[M_TRACE] = content
  remember(s, d, m, day_of(h[TIME]))
  if m[M_STATE] == 'X' then return duplicate(s, h, 'late') end
  if s.wait[d] then
    local score = stop_waiting(s, d)
    keep_body(s, h)
    if h[SIDE] == 'b' and s.cfg.prefer == 0 and better(h, score) then
      duplicate(s, score, 'score_superseded')
      drop_body(s, score)
      score = nil
    end
    return join(s, d, m, h, score, h[TIME])
  end
  if h[SIDE] == 'b' and s.cfg.prefer == 0 then
    keep_body(s, h)
    return join(s, d, m, h, nil, h[TIME])
  end
  start_waiting(s, d, h, content)
  if h[SIDE] == 'b' then hold(s, d, h) end
end

local function row_of(s, m)
  local batch = m[M_TRACK] .. '-' .. text(m[M_NUMBER])
  local new = s.new[batch]
  if new and m[M_INDEX] >= new.base then return new[m[M_INDEX] - new.base + 1] end
  s.old_dirty[batch] = s.old_dirty[batch] or {}
  s.old_dirty[batch][m[M_INDEX]] = true
  return s.old[batch][m[M_INDEX]]
end

local function second_score(s, m, h)
  local row = row_of(s, m)
  local judge = row[ROW_SCORE] or row[ROW_TRACE]
  if not better(h, judge) then return duplicate(s, h, 'score_superseded') end
  settle(s, row, -1)
  if row[ROW_SCORE] then
    duplicate(s, row[ROW_SCORE], 'score_superseded')
    drop_body(s, row[ROW_SCORE])
  end
  row[ROW_SCORE] = h
  row[ROW_WHY] = gate(s, row[ROW_TRACE][REASON], h[SCORE], h[CONF])
  keep_body(s, h)
  settle(s, row, 1)
  seal_when_full(s, m[M_TRACK], h[TIME])
end

local function revise(s, m, h)
  local t = track_of(s, m[M_TRACK])
  t[REVISIONS] = t[REVISIONS] + 1
  add_row(s, m[M_TRACK], { h[KEY], gate(s, m[M_REASON], h[SCORE], h[CONF]), false, h, h[TIME], true })
  count(s, h[TP], 'applied', 1)
  note(s, 'revision', 1)
  keep_body(s, h)
end

local function score_of_open_run(s, d, m, h, content)
  if not s.wait[d] then return start_waiting(s, d, h, content) end
  local other = s.wait[d][1]
  if other[SIDE] ~= 's' then
    stop_waiting(s, d)
    keep_body(s, h)
    return join(s, d, m, other, h, h[TIME])
  end
  if not better(h, other) then return duplicate(s, h, 'score_superseded') end
  stop_waiting(s, d)
  duplicate(s, other, 'score_superseded')
  drop_body(s, other)
  start_waiting(s, d, h, m[M_SCORES])
end

local function apply_score(s, d, h, content)
  local m = memory(s, d, h[TIME]) or { 'W', '', '', '', 0, 0, '' }
  if knows_score(m[M_SCORES], content) then return duplicate(s, h, 'repeat') end
  m[M_SCORES] = with_score(m[M_SCORES], content)
  remember(s, d, m, day_of(h[TIME]))
  if m[M_STATE] == 'X' then return duplicate(s, h, 'late') end
  if m[M_STATE] ~= 'J' then return score_of_open_run(s, d, m, h, m[M_SCORES]) end
  if m[M_NUMBER] == track_of(s, m[M_TRACK])[NUMBER] then return second_score(s, m, h) end
  return revise(s, m, h)
end

-- traces whose wait for a better score is over: `progress` of the scores has passed it
local function end_holds(s, progress)
  while s.holds[1] and s.holds[1][1] + s.cfg.prefer < progress do
    local time, d = unpack(table.remove(s.holds, 1))
    local w = s.wait[d]
    if w and w[1][SIDE] == 'b' then
      local m = memory(s, d, time)
      join(s, d, m, stop_waiting(s, d), nil, time + s.cfg.prefer)
    end
  end
end
