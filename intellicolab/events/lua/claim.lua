-- Takes over entries of a group: those whose next try is due, then those whose consumer has been silent for too long.
-- KEYS[1] the stream
-- KEYS[2] the group's tries to come: entry ids by when (ms)
-- ARGV[1] the group
-- ARGV[2] the consumer that takes them
-- ARGV[3] how many at most
-- ARGV[4] ms of silence after which an entry is anybody's
-- ARGV[5] id from which to look for silent ones: the second value returned by the last call, at first '-'
-- Returns {entries as of XRANGE, id to go on from ('-' at the end), deliveries of each entry}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local most = tonumber(ARGV[3])
local entries, tries = {}, {}

local function take(id, silence)
  local pending = redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1)
  local claimed = redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], silence, id)
  if claimed[1] and pending[1] then
    entries[#entries + 1] = claimed[1]
    tries[#tries + 1] = pending[1][4] + 1
  end
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, most)) do
  redis.call('ZREM', KEYS[2], id)
  take(id, 0)
end
if #entries >= most then
  return {entries, ARGV[5], tries}
end
local wanted = most - #entries
local silent = redis.call('XPENDING', KEYS[1], ARGV[1], 'IDLE', ARGV[4], ARGV[5], '+', wanted)
for _, pending in ipairs(silent) do
  if not redis.call('ZSCORE', KEYS[2], pending[1]) then
    take(pending[1], ARGV[4])
  end
end
local following = '-'
if #silent == wanted then
  following = '(' .. silent[#silent][1]
end
return {entries, following, tries}
