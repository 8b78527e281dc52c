-- Appends entries to a stream at positions that the caller has chosen; those that are there already are left out.
-- KEYS[1] the stream
-- KEYS[2] the highest fencing number that has appended to it
-- ARGV[1] the caller's fencing number
-- ARGV[2] the position after which the entries follow: if the stream does not reach it, something was lost
-- ARGV[3] how many entries the stream may hold
-- ARGV[4...] position, name, version, data, when it was made (Unix time, s) and the one group that it is for, or an
--   empty string, of each entry, by position
-- Returns {what, position of the stream's last entry}; what is 'ok', 'stale' (a higher number has appended), 'lost'
-- or 'full', and nothing was appended then.
local function last_position()
  if redis.call('EXISTS', KEYS[1]) == 0 then
    return 0
  end
  local info = redis.call('XINFO', 'STREAM', KEYS[1])
  for at = 1, #info, 2 do
    if info[at] == 'last-generated-id' then
      return tonumber(string.match(info[at + 1], '^%d+'))
    end
  end
end

local last = last_position()
if tonumber(ARGV[1]) < tonumber(redis.call('GET', KEYS[2]) or 0) then
  return {'stale', last}
end
redis.call('SET', KEYS[2], ARGV[1])
if last < tonumber(ARGV[2]) then
  return {'lost', last}
end
if redis.call('XLEN', KEYS[1]) + (#ARGV - 3) / 6 > tonumber(ARGV[3]) then
  return {'full', last}
end
for at = 4, #ARGV, 6 do
  local position = tonumber(ARGV[at])
  if position > last then
    local fields = {'n', ARGV[at + 1], 'v', ARGV[at + 2], 'd', ARGV[at + 3], 't', ARGV[at + 4]}
    if ARGV[at + 5] ~= '' then
      fields[#fields + 1] = 'g'
      fields[#fields + 1] = ARGV[at + 5]
    end
    redis.call('XADD', KEYS[1], ARGV[at] .. '-0', unpack(fields))
    last = position
  end
end
return {'ok', last}
