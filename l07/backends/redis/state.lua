-- What a step knows: loaded whole before anything is decided, written whole after everything is decided.
-- An error of Lua does not roll back what was written, so nothing that can fail stands after the first write.
--
-- Keys, all under one tag T = {l07:<name>:<shard>}:
--   T:layout            version of all this            T:pos      topic:partition -> "next time digest"
--   T:ended             topic:partition -> "next now" of the tick that found its end there
--   T:counts            "counter topic:partition"      T:reasons  reason -> count
--   T:days, T:seen:<d>  natural-key memory by day      T:wait     run digest -> its waiting half
--   T:exp:trace|score   waiting halves by record time  T:hold     traces that wait for a better score, by record time
--   T:pair, T:exp:pair  run digest -> the one of request and response that waits for the other, and those by record time
--   T:hclock            newest half by partition       T:tracks   track -> what its open batch counts
--   T:rows:<batch>      its runs in order              T:b:<slice>  the bodies of a slice's records, by number
--   T:batches, T:released  batch -> its seal           T:outbox, T:outseq  what must leave, and its last number
--   T:logs              topic:partition -> what tells the log that was applied from another of its name
--   T:said              sealed batch of which a row was erased -> the id under which it was announced whole
--   T:held              bytes of the bodies of waiting halves      T:in  the bodies of the slice that is being applied
--
-- Lua hashes each string that it sees from end to end, so bodies are none: the client puts them into T:in, in the same
-- transaction, and the script renames that. A half comes packed by the client (wire.py: StoredHalf) and is stored as it
-- came: the script reads its head, and passes the rest through.

local LAYOUT = '2'
local DAY = 86400000
local MANY = 500
local SCORES_KEPT = 32 -- different scores of one run that are remembered

-- A response that found its request is one trace: wherever a half lies, its request's lies behind it.

local HEAD = '>c1dddc8dI4HHHHI4' -- side, time, score, confidence, content, offset, bytes, number, lengths of the texts
local LENGTHS, LENGTHS_AT = '>HHHI4I4', 48 -- of topic:partition, track, reason, tiebreak and key
local SLICE, SLICE_LEN, TEXTS = 62, 16, 78 -- where they begin: slice, topic:partition, track, reason, tiebreak, key
-- a half, read; score and confidence are -1 where there is none
local PACKED, TP = 1, 2
local DIGEST = 3 -- of its run; false where it is known otherwise
local REQUEST = 4 -- of a trace that is a pair: the request's half; its times and bytes are then those of both
local SIDE, TIME, SCORE, CONF, CONTENT, OFFSET, BYTES, PLACE = 5, 6, 7, 8, 9, 10, 11, 12
local TP_LEN, TRACK_LEN, REASON_LEN, TIE_LEN = 13, 14, 15, 16
local ASKS, SAYS = 'q', 'p' -- sides: request, response
-- a waiting half is stored packed; behind this byte, which no packed half begins with, stand the day and the scores of its run
local MORE = 255
-- what is remembered of a run that waits no more: 'J' joined into a batch, 'F' joined, but the batch was full, 'X' expired
local SEEN = '>c1I4I4Bc0Hc0Hc0' -- state, batch number, index of its row, trace's content, scores' contents, track; then the reason
local M_STATE, M_TRACE, M_SCORES, M_TRACK, M_NUMBER, M_INDEX, M_REASON = 1, 2, 3, 4, 5, 6, 7
-- a row, packed: bits (1 trace, 2 score, 4 revision), length of why, why (a reason a line; '' is ACCEPT), its halves
local ROW = '>BH'
local NO_WHY = { '\1\0\0', '\2\0\0', '\3\0\0', '\4\0\0', '\5\0\0', '\6\0\0', '\7\0\0' } -- the same, by the bits
-- a track's open batch
local NUMBER, ACCEPTED, REJECTED, REVISIONS, OLDEST, ROWS = 1, 2, 3, 4, 5, 6

-- while the library is loaded, none of these is there yet
local call, pack, unpack_msg, spack, sunpack
local sub, byte, max, min

local function bind()
  call, pack, unpack_msg, spack, sunpack = redis.call, cmsgpack.pack, cmsgpack.unpack, struct.pack, struct.unpack
  sub, byte, max, min = string.sub, string.byte, math.max, math.min
end

local function text(n) return string.format('%.0f', n) end

local function topic_of(tp) return (string.match(tp, '^(.*):%d+$')) end

local function day_of(time) return (time - time % DAY) / DAY end

local function pairs_of(flat)
  local out = {}
  for i = 1, #flat, 2 do out[flat[i]] = flat[i + 1] end
  return out
end

-- call a command with many values, MANY at a time; `width` values belong together
local function bulk(command, key, values, width)
  local step = MANY * width
  for i = 1, #values, step do call(command, key, unpack(values, i, min(i + step - 1, #values))) end
end

-- 16 bytes a run, MANY runs at most
local function digests_of(packed)
  local out = { sunpack(string.rep('c16', #packed / 16), packed) }
  out[#out] = nil -- where it ended
  return out
end

local function parse_position(value)
  local next_, time, digest = string.match(value, '^(%d+) (%-?%d+) (%x*)$')
  return { tonumber(next_), tonumber(time), digest }
end

------------------------------------------------------------------ halves and rows

-- in one constructor: a table that grows afterwards costs more than all that is read; `name`: topic:partition, if known
local function read_half(packed, digest, name)
  if not name then
    local high, low = byte(packed, LENGTHS_AT, LENGTHS_AT + 1)
    name = sub(packed, TEXTS, TEXTS - 1 + high * 256 + low)
  end
  return { packed, name, digest or false, false, sunpack(HEAD, packed) }
end

local function piece(h, from, length) return sub(h[PACKED], from, from + length - 1) end
local function slice_of(h) return piece(h, SLICE, SLICE_LEN) end
local function track_name(h)
  local from = TEXTS + h[TP_LEN]
  return sub(h[PACKED], from, from + h[TRACK_LEN] - 1)
end
local function own_reason(h)
  local length = h[REASON_LEN]
  return length == 0 and '' or piece(h, TEXTS + h[TP_LEN] + h[TRACK_LEN], length)
end
local function tiebreak(h) return piece(h, TEXTS + h[TP_LEN] + h[TRACK_LEN] + h[REASON_LEN], h[TIE_LEN]) end

-- the request's reason counts where the response has none
local function reason_of(h)
  local own = own_reason(h)
  return own == '' and h[REQUEST] and own_reason(h[REQUEST]) or own
end

-- what tells a trace from another: of a pair the response's, then the request's
local function content_of(h) return h[REQUEST] and h[CONTENT] .. h[REQUEST][CONTENT] or h[CONTENT] end

local function size_of(packed, from)
  local tp, track, reason, tie, key = sunpack(LENGTHS, packed, from + LENGTHS_AT - 1)
  return TEXTS - 1 + tp + track + reason + tie + key + 8, sub(packed, from, from)
end

local function with_request(h, request)
  h[SIDE], h[TIME], h[BYTES], h[REQUEST] = 't', max(h[TIME], request[TIME]), h[BYTES] + request[BYTES], request
  return h
end

-- a half that was stored where no lone response is
local function read_stored(packed)
  local h = read_half(packed)
  if h[SIDE] ~= SAYS then return h end
  return with_request(h, read_half(sub(packed, size_of(packed, 1) + 1)))
end

-- the waiting half, the contents of its run's scores, and the newest day on which something of the run came
local function read_waiting(value)
  if byte(value) ~= MORE then
    local h = read_stored(value)
    return h, h[SIDE] == 's' and h[CONTENT] or '', day_of(h[TIME])
  end
  local day, scores, at = sunpack('>I4Hc0', value, 2)
  return read_stored(sub(value, at)), scores, day
end

local function waiting_value(h, scores, day)
  local plain = h[SIDE] == 's' and h[CONTENT] or ''
  if scores == plain and day == day_of(h[TIME]) then return h[PACKED] end
  return string.char(MORE) .. spack('>I4Hc0', day, #scores, scores) .. h[PACKED]
end

local function row_value(why, trace, score, revision)
  local bits = (trace and 1 or 0) + (score and 2 or 0) + (revision and 4 or 0)
  local head = why == '' and NO_WHY[bits] or spack(ROW, bits, #why) .. why
  return head .. (trace and trace[PACKED] or '') .. (score and score[PACKED] or '')
end

local function read_row(value)
  local bits, length = sunpack(ROW, value)
  local at = 4 + length
  local trace, score
  if bits % 2 == 1 then
    local size, side = size_of(value, at)
    if side == SAYS then size = size + size_of(value, at + size) end
    trace = sub(value, at, at + size - 1)
    at = at + #trace
  end
  if bits % 4 >= 2 then score = sub(value, at) end
  return sub(value, 4, 3 + length), trace and read_stored(trace), score and read_half(score)
end

local function read_seen(value)
  local state, number, index, trace, scores, track, at = sunpack(SEEN, value)
  return { state, trace, scores, track, number, index, sub(value, at) }
end

local function seen_value(state, number, index, trace, scores, track, reason)
  return spack(SEEN, state, number, index, #trace, trace, #scores, scores, #track, track) .. reason
end

------------------------------------------------------------------ loading

-- the version, and with several shards their number: fixed with the first write
local function layout_of(cfg) return cfg.shards and LAYOUT .. '/' .. text(cfg.shards) or LAYOUT end

local function refuse_layout(layout)
  local word = string.match(layout, '^[^/]*') == LAYOUT and 'L07SHARDS ' or 'L07LAYOUT '
  return redis.error_reply(word .. layout)
end

local TYPES = {
  layout = 'string', ['in'] = 'hash', outseq = 'string', held = 'string', pos = 'hash', logs = 'hash', counts = 'hash', reasons = 'hash', wait = 'hash',
  pair = 'hash', ['exp:pair'] = 'zset',
  said = 'hash', hclock = 'hash', tracks = 'hash', batches = 'hash', released = 'hash', ended = 'hash',
  days = 'set', hold = 'zset', heard = 'hash',
  ['exp:trace'] = 'zset', ['exp:score'] = 'zset', outbox = 'stream',
}

-- an error where one of these keys holds something that is not ours: a write to it would fail in the middle of a step
local function refuse_strange(tag, types)
  for name, want in pairs(types) do
    local is = call('TYPE', tag .. ':' .. name).ok
    if is ~= want and is ~= 'none' then
      return redis.error_reply('L07FOREIGN ' .. tag .. ':' .. name .. ' is a ' .. is .. ', not a ' .. want)
    end
  end
end

-- never a number that was given out before, though a flush or an old backup took the last one away: a relay that read
-- before it drops by number what it sent
local function last_number(tag)
  local now = call('TIME')
  return math.max(tonumber(call('GET', tag .. ':outseq') or '0'), tonumber(now[1]) * 1000000 + tonumber(now[2]))
end

-- the state of one step; nil and an error where what lies there is not ours, or has another layout
local function open_state(tag, config)
  bind()
  local strange = refuse_strange(tag, TYPES)
  if strange then return nil, strange end
  local layout, cfg = call('GET', tag .. ':layout'), unpack_msg(config)
  if layout and layout ~= layout_of(cfg) then return nil, refuse_layout(layout) end
  local s = {
    tag = tag, cfg = cfg, first = not layout,
    counts = {}, reasons = {}, whys = {}, held = 0,
    mem = {}, mem_day = {}, mem_new = {},
    wait = {}, wait_had = {}, wait_dirty = {},
    lone = {}, lone_had = {}, lone_dirty = {},
    new = {}, old = {}, old_dirty = {},
    tracks = {}, track_dirty = {}, open = {},
    slice = '', drop = {},
    sealed = {}, seals = {}, outbox = {},
    holds = {}, hclock = {}, hclock_dirty = {},
    outseq = last_number(tag),
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

-- the id of a track's open batch
local function open_batch(s, track)
  local batch = s.open[track]
  if not batch then
    batch = track .. '-' .. text(track_of(s, track)[NUMBER])
    s.open[track] = batch
  end
  return batch
end

-- what each digest has in a hash goes to `take`; the digests that have nothing come back
local function lookup(key, digests, take)
  local missing, count = {}, 0
  for from = 1, #digests, MANY do
    local upto = min(from + MANY - 1, #digests)
    local found = call('HMGET', key, unpack(digests, from, upto))
    for i = from, upto do
      local value = found[i - from + 1]
      if value then
        take(digests[i], value)
      else
        count = count + 1
        missing[count] = digests[i]
      end
    end
  end
  return missing
end

-- newest bucket first: a run's memory moves to newer days, never back
local function recall(s, digests, oldest)
  local days = {}
  for _, day in ipairs(call('SMEMBERS', s.tag .. ':days')) do
    day = tonumber(day)
    if day >= oldest then days[#days + 1] = day end
  end
  table.sort(days, function(a, b) return a > b end)
  for _, day in ipairs(days) do
    if #digests == 0 then return end
    digests = lookup(s.tag .. ':seen:' .. text(day), digests, function(d, value)
      s.mem[d], s.mem_day[d] = value, day
    end)
  end
end

-- by the first byte of what waits
local WAITS_AS = { [98] = 'b', [115] = 's', [116] = 't', [112] = 't' }

local function load_waiting(s, digests)
  local wait, had = s.wait, s.wait_had
  return lookup(s.tag .. ':wait', digests, function(d, value)
    wait[d], had[d] = value, WAITS_AS[byte(value)] or read_waiting(value)[SIDE]
  end)
end

local function load_lone(s, digests)
  lookup(s.tag .. ':pair', digests, function(d, value) s.lone[d], s.lone_had[d] = value, true end)
end

-- rows of open batches that a score of this step could change
local function load_rows(s, digests)
  for _, d in ipairs(digests) do
    local m = s.mem[d] and read_seen(s.mem[d])
    local t = m and m[M_STATE] == 'J' and s.tracks[m[M_TRACK]]
    if t and t[NUMBER] == m[M_NUMBER] then
      local batch = open_batch(s, m[M_TRACK])
      s.old[batch] = s.old[batch] or {}
      s.old[batch][m[M_INDEX]] = call('LINDEX', s.tag .. ':rows:' .. batch, m[M_INDEX])
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
