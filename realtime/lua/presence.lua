-- Notes who is here in one process, and tells whose presence that changes on the whole site.
-- KEYS[1] people by when their last heartbeat runs out, in ms   KEYS[2] 'person:process' by the same
-- KEYS[3] processes by the same
-- ARGV[1] the process   ARGV[2] ms that a heartbeat counts   ARGV[3] how many people are here
-- ARGV[4…] the people who are here, then those who have left this process
-- Returns {who came, who went}: of the latter also those whose process has ended without a word.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ends = string.format('%.0f', now + ARGV[2])
local here = tonumber(ARGV[3])
local came, went, late = {}, {}, {}
local ended = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 200)
if #ended > 0 then
  redis.call('ZREM', KEYS[1], unpack(ended))
end
for _, person in ipairs(ended) do
  late[person] = true
end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now)
for i = 4, 3 + here do
  if redis.call('ZADD', KEYS[1], ends, ARGV[i]) == 1 and not late[ARGV[i]] then
    table.insert(came, ARGV[i])
  end
  late[ARGV[i]] = nil  -- here all the time: it was Redis that was away
  redis.call('ZADD', KEYS[2], ends, ARGV[i] .. ':' .. ARGV[1])
end
if here > 0 then
  redis.call('ZADD', KEYS[3], ends, ARGV[1])
end
for _, person in ipairs(ended) do
  if late[person] then
    table.insert(went, person)
  end
end
local processes = redis.call('ZRANGE', KEYS[3], 0, -1)
for i = 4 + here, #ARGV do
  redis.call('ZREM', KEYS[2], ARGV[i] .. ':' .. ARGV[1])
  local last = 0
  for _, process in ipairs(processes) do
    last = math.max(last, tonumber(redis.call('ZSCORE', KEYS[2], ARGV[i] .. ':' .. process) or 0))
  end
  if last > 0 then
    redis.call('ZADD', KEYS[1], 'XX', string.format('%.0f', last), ARGV[i])
  elseif redis.call('ZREM', KEYS[1], ARGV[i]) == 1 then
    table.insert(went, ARGV[i])
  end
end
for _, key in ipairs(KEYS) do
  redis.call('PEXPIRE', key, ARGV[2])
end
return {came, went}
