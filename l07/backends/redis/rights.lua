-- ARGV: tag, commands. Those that this user may not run on the buffer's keys. Asked before the first write: a step that is
-- refused in its middle would stay half done.
local function denied(_, argv)
  local out, key = {}, argv[1] .. ':x'
  for i = 2, #argv do
    local known, may = pcall(redis.acl_check_cmd, argv[i], key, key, key)
    if known and not may then out[#out + 1] = argv[i] end
  end
  return out
end

redis.register_function({ function_name = 'denied_@VERSION@', callback = denied, flags = { 'no-writes' } })
