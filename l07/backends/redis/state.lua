-- What a step knows: loaded whole before anything is decided, written whole after everything is decided.
-- An error of Lua does not roll back what was written, so nothing that can fail stands after the first write.
--
-- Keys, all under one tag T = {l07:<name>:<shard>}:
--   T:layout            version of all this            T:pos      topic:partition -> "next time digest"
--   T:counts            "counter topic:partition"      T:reasons  reason -> count
--   T:days, T:seen:<d>  natural-key memory by day      T:wait     run digest -> its waiting half
--   T:exp:trace|score   waiting halves by record time  T:hold     traces that wait for a better score, by record time
--   T:hclock            newest half by partition       T:tracks   track -> what its open batch counts
--   T:rows:<batch>      its runs in order              T:b:<topic:partition>@<offset>  a body
--   T:batches, T:released  batch -> its seal           T:outbox, T:outseq  what must leave, and its last number

local LAYOUT = '1'
local DAY = 86400000
local MANY = 500
local SCORES_KEPT = 32 -- different scores of one run that are remembered

-- a half: what one record says of its run; scores and confidences are -1 where there is none
local KEY, SIDE, TP, OFFSET, TIME, TRACK, REASON, SCORE, CONF, TIE, CHECK = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
-- a row: a joined run; `why` is '' for ACCEPT, else its reasons, a line each
local ROW_KEY, ROW_WHY, ROW_TRACE, ROW_SCORE, ROW_TIME, ROW_REVISION = 1, 2, 3, 4, 5, 6
-- what is remembered of a run: 'W' waiting, 'J' joined into a batch, 'X' expired
local M_STATE, M_TRACE, M_SCORES, M_TRACK, M_NUMBER, M_INDEX, M_REASON = 1, 2, 3, 4, 5, 6, 7
-- a track's open batch
local NUMBER, ACCEPTED, REJECTED, REVISIONS, OLDEST, ROWS = 1, 2, 3, 4, 5, 6

-- while the library is loaded, neither redis.call nor cmsgpack is there yet
local function call(...) return redis.call(...) end
local function pack(value) return cmsgpack.pack(value) end
local function unpack_msg(blob) return cmsgpack.unpack(blob) end

local function text(n) return string.format('%.0f', n) end

local function body_key(s, h) return s.tag .. ':b:' .. h[TP] .. '@' .. text(h[OFFSET]) end

local function topic_of(tp) return (string.match(tp, '^(.*):%d+$')) end

local function pairs_of(flat)
  local out = {}
  for i = 1, #flat, 2 do out[flat[i]] = flat[i + 1] end
  return out
end

-- call a command with many values, MANY at a time; `width` values belong together
local function bulk(command, key, values, width)
  local step = MANY * width
  for i = 1, #values, step do call(command, key, unpack(values, i, math.min(i + step - 1, #values))) end
end

local function parse_position(value)
  local next_, time, digest = string.match(value, '^(%d+) (%-?%d+) (%x*)$')
  return { tonumber(next_), tonumber(time), digest }
end

-- the state of one step; nil and an error where the layout is another
local function open_state(tag, config)
  local layout = call('GET', tag .. ':layout')
  if layout and layout ~= LAYOUT then return nil, redis.error_reply('L07LAYOUT ' .. layout) end
  local s = {
    tag = tag, cfg = unpack_msg(config), first = not layout,
    counts = {}, net = {}, reasons = {},
    mem = {}, mem_dirty = {},
    wait = {}, wait_had = {}, wait_dirty = {},
    new = {}, old = {}, old_dirty = {},
    tracks = {}, track_dirty = {},
    put = {}, drop = {}, body = {},
    sealed = {}, seals = {}, outbox = {},
    holds = {}, hclock = {}, hclock_dirty = {},
    outseq = tonumber(call('GET', tag .. ':outseq') or '0'),
  }
  for track, value in pairs(pairs_of(call('HGETALL', tag .. ':tracks'))) do s.tracks[track] = unpack_msg(value) end
  return s
end

local function track_of(s, name)
  local t = s.tracks[name]
  if not t then
    t = { 1, 0, 0, 0, 0, 0 }
    s.tracks[name] = t
  end
  s.track_dirty[name] = true
  return t
end

-- newest bucket first: a run's memory moves to newer days, never back
local function recall(s, digests, floor)
  local days, open = {}, digests
  for _, day in ipairs(call('SMEMBERS', s.tag .. ':days')) do
    day = tonumber(day)
    if day >= floor then days[#days + 1] = day end
  end
  table.sort(days, function(a, b) return a > b end)
  for _, day in ipairs(days) do
    if #open == 0 then return end
    local missing = {}
    for from = 1, #open, MANY do
      local upto = math.min(from + MANY - 1, #open)
      local found = call('HMGET', s.tag .. ':seen:' .. text(day), unpack(open, from, upto))
      for i = from, upto do
        local value = found[i - from + 1]
        if value then
          local m = unpack_msg(value)
          m.day = day
          s.mem[open[i]] = m
        else
          missing[#missing + 1] = open[i]
        end
      end
    end
    open = missing
  end
end

local function load_waiting(s, digests)
  for from = 1, #digests, MANY do
    local upto = math.min(from + MANY - 1, #digests)
    local found = call('HMGET', s.tag .. ':wait', unpack(digests, from, upto))
    for i = from, upto do
      local value = found[i - from + 1]
      if value then
        s.wait[digests[i]] = unpack_msg(value)
        s.wait_had[digests[i]] = s.wait[digests[i]][1][SIDE]
      end
    end
  end
end

-- rows of open batches that a score of this step could change
local function load_rows(s, digests)
  for _, d in ipairs(digests) do
    local m = s.mem[d]
    if m and m[M_STATE] == 'J' then
      local t = s.tracks[m[M_TRACK]]
      if t and t[NUMBER] == m[M_NUMBER] then
        local batch = m[M_TRACK] .. '-' .. text(m[M_NUMBER])
        local row = call('LINDEX', s.tag .. ':rows:' .. batch, m[M_INDEX])
        s.old[batch] = s.old[batch] or {}
        s.old[batch][m[M_INDEX]] = row and unpack_msg(row) or nil
      end
    end
  end
end

local function load_holds(s, upto)
  local due = call('ZRANGEBYSCORE', s.tag .. ':hold', '-inf', upto, 'WITHSCORES')
  for i = 1, #due, 2 do s.holds[#s.holds + 1] = { tonumber(due[i + 1]), due[i] } end
  local digests = {}
  for i, hold in ipairs(s.holds) do digests[i] = hold[2] end
  return digests
end

------------------------------------------------------------------ writing

local function write_memory(s)
  local days = {}
  for d in pairs(s.mem_dirty) do
    local m = s.mem[d]
    local fields = days[m.day]
    if not fields then
      fields = {}
      days[m.day] = fields
    end
    fields[#fields + 1] = d
    fields[#fields + 1] = pack({ m[1], m[2], m[3], m[4], m[5], m[6], m[7] })
  end
  for day, fields in pairs(days) do
    call('SADD', s.tag .. ':days', text(day))
    bulk('HSET', s.tag .. ':seen:' .. text(day), fields, 2)
  end
end

local WAITS_IN = { t = ':exp:trace', s = ':exp:score', b = ':hold' }

local function write_waiting(s)
  local set, gone = {}, {}
  local add = { t = {}, s = {}, b = {} }
  local remove = { t = {}, s = {}, b = {} }
  for d in pairs(s.wait_dirty) do
    local w, had = s.wait[d], s.wait_had[d]
    local side = w and w[1][SIDE]
    if had and had ~= side then table.insert(remove[had], d) end
    if w then
      set[#set + 1] = d
      set[#set + 1] = pack(w)
      table.insert(add[side], text(w[1][TIME]))
      table.insert(add[side], d)
    elseif had then
      gone[#gone + 1] = d
    end
  end
  bulk('HSET', s.tag .. ':wait', set, 2)
  bulk('HDEL', s.tag .. ':wait', gone, 1)
  for side, name in pairs(WAITS_IN) do
    bulk('ZREM', s.tag .. name, remove[side], 1)
    bulk('ZADD', s.tag .. name, add[side], 2)
  end
end

local function write_rows(s)
  for batch, new in pairs(s.new) do
    local rows = {}
    for i, row in ipairs(new) do rows[i] = pack(row) end
    bulk('RPUSH', s.tag .. ':rows:' .. batch, rows, 1)
  end
  for batch, dirty in pairs(s.old_dirty) do
    for index in pairs(dirty) do call('LSET', s.tag .. ':rows:' .. batch, index, pack(s.old[batch][index])) end
  end
  local tracks = {}
  for name in pairs(s.track_dirty) do
    tracks[#tracks + 1] = name
    tracks[#tracks + 1] = pack(s.tracks[name])
  end
  bulk('HSET', s.tag .. ':tracks', tracks, 2)
end

local function write_bodies(s)
  local put = {}
  for key, body in pairs(s.put) do
    put[#put + 1] = key
    put[#put + 1] = body
  end
  for i = 1, #put, 2 * MANY do call('MSET', unpack(put, i, math.min(i + 2 * MANY - 1, #put))) end
  for i = 1, #s.drop, MANY do call('UNLINK', unpack(s.drop, i, math.min(i + MANY - 1, #s.drop))) end
end

local function write_counts(s)
  for tp, names in pairs(s.counts) do
    for name, n in pairs(names) do
      if n ~= 0 then call('HINCRBY', s.tag .. ':counts', name .. ' ' .. tp, text(n)) end
    end
  end
  for reason, n in pairs(s.reasons) do
    if n ~= 0 then call('HINCRBY', s.tag .. ':reasons', reason, text(n)) end
  end
  local clock = {}
  for tp in pairs(s.hclock_dirty) do
    clock[#clock + 1] = tp
    clock[#clock + 1] = text(s.hclock[tp])
  end
  bulk('HSET', s.tag .. ':hclock', clock, 2)
end

local function write_state(s)
  if s.first then call('SET', s.tag .. ':layout', LAYOUT) end
  write_bodies(s)
  write_memory(s)
  write_waiting(s)
  write_rows(s)
  write_counts(s)
  bulk('HSET', s.tag .. ':batches', s.seals, 2)
  for _, entry in ipairs(s.outbox) do call('XADD', s.tag .. ':outbox', entry[1] .. '-0', entry[2], entry[3]) end
  if #s.outbox > 0 then call('SET', s.tag .. ':outseq', text(s.outseq)) end
end
