-- A run that must be gone: nothing of it stays but its place in the counters, where it is rejected now (reason `erased`).

local function recount(s, h)
  tally(s, h, 'rejected', 1)
  note(s, 'erased', records_of(h))
  drop_body(s, h)
end

local function erase_waiting(s, digests)
  local n = 0
  for _, d in ipairs(digests) do
    if s.wait[d] then
      local h = read_waiting(s.wait[d])
      stop_waiting(s, d, h)
      recount(s, h)
      n = n + 1
    end
    if s.lone[d] then
      local h = read_half(s.lone[d])
      stop_alone(s, d, h)
      recount(s, h)
      n = n + 1
    end
  end
  return n
end

-- what the row counted for is taken back; a batch that was released is counted where its dataset is
local function uncount_row(s, row)
  local why, trace, score = row.why, row.trace, row.score
  if not trace then
    count(s, score[TP], 'applied', -1)
    note(s, 'revision', -1)
    if row.open then row.open[REVISIONS] = row.open[REVISIONS] - 1 end
    return
  end
  if row.open then settle_row(s, row.open, why, trace, score, -1) else settle(s, why, trace, score, -1) end
  if row.seal then
    local slot = why == '' and 5 or 6
    row.seal[slot] = row.seal[slot] - 1
  end
end

-- the row if it is still as it was read, and the batch is as far as the caller knew: he read no id where it was open
local function read_for_erasure(s, said, ids, seals, blob)
  local batch, index = said[1], said[2]
  if call('LINDEX', s.tag .. ':rows:' .. batch, index) ~= blob then return nil end
  local track, number = string.match(batch, '^(.*)%-(%d+)$')
  local row = { batch = batch, index = index, track = track }
  row.why, row.trace, row.score = read_row(blob)
  if s.tracks[track] and s.tracks[track][NUMBER] == tonumber(number) then
    row.open = track_of(s, track)
  elseif not seals[batch] then
    local seal = call('HGET', s.tag .. ':batches', batch)
    if seal and not ids[batch] then return nil end
    seals[batch] = seal and unpack_msg(seal) or false
  end
  row.seal = seals[batch]
  return row
end

local function erase_rows(s, wanted, ids, argv)
  local rows, seals = {}, {}
  for i, said in ipairs(wanted) do
    local row = read_for_erasure(s, said, ids, seals, argv[4 + i])
    if row then
      if row.open or row.seal then uncount_row(s, row) end
      for _, h in pairs({ row.trace or nil, row.score or nil }) do
        if row.open or row.seal then recount(s, h) else drop_body(s, h) end
      end
      rows[#rows + 1] = row
    end
  end
  return rows, seals
end

-- ARGV: tag, rules, MessagePack {rows as {batch, index}, id of each sealed batch's announcement}, 16 bytes a run's digest; then
-- each row as it was read. A row's place stays, empty, so that no other row moves. Answers the halves that waited, and the rows.
local function erase(_, argv)
  local s, refusal = open_state(argv[1], argv[2])
  if not s then return refusal end
  local said, digests = unpack_msg(argv[3]), digests_of(argv[4])
  load_waiting(s, digests)
  load_lone(s, digests)
  local waited = erase_waiting(s, digests)
  local rows, seals = erase_rows(s, said[1], said[2], argv)

  local strange = write_state(s)
  if strange then return strange end
  for _, day in ipairs(call('SMEMBERS', s.tag .. ':days')) do bulk('HDEL', s.tag .. ':seen:' .. day, digests, 1) end
  for _, row in ipairs(rows) do call('LSET', s.tag .. ':rows:' .. row.batch, row.index, '') end
  for batch, seal in pairs(seals) do
    if seal then
      call('HSETNX', s.tag .. ':said', batch, said[2][batch])
      call('HSET', s.tag .. ':batches', batch, pack(seal))
    end
  end
  return { waited, #rows }
end
