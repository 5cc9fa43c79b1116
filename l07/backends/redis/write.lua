-- What a step leaves behind. Everything that could fail is looked at first: `refuse_writes`.

local function write_outbox(s)
  for _, entry in ipairs(s.outbox) do call('XADD', s.tag .. ':outbox', entry[1] .. '-0', entry[2], entry[3]) end
  if #s.outbox > 0 then call('SET', s.tag .. ':outseq', text(s.outseq)) end
  bulk('HSET', s.tag .. ':batches', s.seals, 2)
end

-- T:in becomes this slice's, less what nobody needs; a slice of which nothing stays leaves no key
local function write_bodies(s)
  for slice, numbers in pairs(s.drop) do
    bulk('HDEL', s.tag .. (slice == s.slice and ':in' or ':b:' .. slice), numbers, 1)
  end
  if s.slice ~= '' and call('EXISTS', s.tag .. ':in') == 1 then
    call('RENAME', s.tag .. ':in', s.tag .. ':b:' .. s.slice)
  end
end

-- what is remembered anew, by day: fields and values, and how many both are
local function memory_by_day(s)
  local days, mem = {}, s.mem
  for d, day in pairs(s.mem_new) do
    local fields = days[day]
    if not fields then
      fields = { n = 0 }
      days[day] = fields
    end
    local n = fields.n + 2
    fields[n - 1], fields[n], fields.n = d, mem[d], n
  end
  return days
end

local function write_memory(s)
  for day, fields in pairs(s.days) do
    local name = text(day)
    call('SADD', s.tag .. ':days', name)
    bulk('HSET', s.tag .. ':seen:' .. name, fields, 2)
  end
end

local WAITS_IN = { t = ':exp:trace', s = ':exp:score', b = ':hold' }

local function write_waiting(s)
  local set, gone, sets, goes = {}, {}, 0, 0
  local add = { t = {}, s = {}, b = {} }
  local remove = { t = {}, s = {}, b = {} }
  local wait, wait_had = s.wait, s.wait_had
  for d, h in pairs(s.wait_dirty) do
    local value, had = wait[d], wait_had[d]
    local side = value and h[SIDE]
    if had and had ~= side then
      local from = remove[had]
      from[#from + 1] = d
    end
    if value then
      sets = sets + 2
      set[sets - 1], set[sets] = d, value
      local to = add[side]
      local n = #to
      to[n + 1], to[n + 2] = h[TIME], d
    elseif had then
      goes = goes + 1
      gone[goes] = d
    end
  end
  bulk('HSET', s.tag .. ':wait', set, 2)
  bulk('HDEL', s.tag .. ':wait', gone, 1)
  for side, name in pairs(WAITS_IN) do
    bulk('ZREM', s.tag .. name, remove[side], 1)
    bulk('ZADD', s.tag .. name, add[side], 2)
  end
end

local function write_lone(s)
  local set, times, gone = {}, {}, {}
  for d, h in pairs(s.lone_dirty) do
    if s.lone[d] then
      set[#set + 1], set[#set + 2] = d, s.lone[d]
      times[#times + 1], times[#times + 2] = h[TIME], d
    elseif s.lone_had[d] then
      gone[#gone + 1] = d
    end
  end
  bulk('HSET', s.tag .. ':pair', set, 2)
  bulk('ZADD', s.tag .. ':exp:pair', times, 2)
  bulk('HDEL', s.tag .. ':pair', gone, 1)
  bulk('ZREM', s.tag .. ':exp:pair', gone, 1)
end

local function write_rows(s)
  for batch, new in pairs(s.new) do bulk('RPUSH', s.tag .. ':rows:' .. batch, new, 1) end
  for batch, dirty in pairs(s.old_dirty) do
    for index in pairs(dirty) do call('LSET', s.tag .. ':rows:' .. batch, index, s.old[batch][index]) end
  end
  local tracks = {}
  for name in pairs(s.track_dirty) do
    tracks[#tracks + 1] = name
    tracks[#tracks + 1] = pack(s.tracks[name])
  end
  bulk('HSET', s.tag .. ':tracks', tracks, 2)
end

-- changes of a hash of numbers, as fields and new values
local function summed(key, changes)
  local names, out = {}, {}
  for name, n in pairs(changes) do
    if n ~= 0 then names[#names + 1] = name end
  end
  for from = 1, #names, MANY do
    local upto = min(from + MANY - 1, #names)
    local have = call('HMGET', key, unpack(names, from, upto))
    for i = from, upto do
      out[#out + 1] = names[i]
      out[#out + 1] = text(tonumber(have[i - from + 1] or '0') + changes[names[i]])
    end
  end
  return out
end

local function add_up(s)
  local counts = {}
  for tp, names in pairs(s.counts) do
    for name, n in pairs(names) do counts[name .. ' ' .. tp] = n end
  end
  for why, n in pairs(s.whys) do
    for reason in string.gmatch(why, '[^\n]+') do s.reasons[reason] = (s.reasons[reason] or 0) + n end
  end
  s.count_fields = summed(s.tag .. ':counts', counts)
  s.reason_fields = summed(s.tag .. ':reasons', s.reasons)
  s.held_now = tonumber(call('GET', s.tag .. ':held') or '0') + s.held
end

local function write_counts(s)
  bulk('HSET', s.tag .. ':counts', s.count_fields, 2)
  bulk('HSET', s.tag .. ':reasons', s.reason_fields, 2)
  if s.held ~= 0 then call('SET', s.tag .. ':held', text(s.held_now)) end
  local clock = {}
  for tp in pairs(s.hclock_dirty) do
    clock[#clock + 1] = tp
    clock[#clock + 1] = text(s.hclock[tp])
  end
  bulk('HSET', s.tag .. ':hclock', clock, 2)
end

-- a slice's name that is taken, and keys that have no fixed name
local function refuse_writes(s)
  if s.slice ~= '' and call('EXISTS', s.tag .. ':b:' .. s.slice) == 1 then return redis.error_reply('L07AGAIN ' .. s.slice) end
  local types = {}
  for batch in pairs(s.new) do types['rows:' .. batch] = 'list' end
  for day in pairs(s.days) do types['seen:' .. text(day)] = 'hash' end
  return refuse_strange(s.tag, types)
end

-- nil, or why nothing was written; the outbox first: it refuses a number that was there before
local function write_state(s)
  s.days = memory_by_day(s)
  local strange = refuse_writes(s)
  if strange then return strange end
  add_up(s)
  write_outbox(s)
  if s.first then call('SET', s.tag .. ':layout', layout_of(s.cfg)) end
  write_bodies(s)
  write_memory(s)
  write_waiting(s)
  write_lone(s)
  write_rows(s)
  write_counts(s)
end
