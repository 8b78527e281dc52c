#!lua flags=allow-oom
-- Takes jobs of a queue for a worker, those of a higher priority first.
-- Runs on a server that is out of memory, too: jobs that end give memory back.
-- KEYS[1] the queue's workers, by the end of their lease (ms)
-- KEYS[2] its workers that are gone, whose jobs are anybody's
-- KEYS[3] its scheduled jobs, 'id:priority' by when (ms)
-- KEYS[4] its jobs that are tried again, likewise
-- KEYS[5] its bell
-- KEYS[6] the paused queues
-- KEYS[7] the queue's priorities
-- KEYS[8...] its streams, by falling priority
-- ARGV[1] the worker
-- ARGV[2] the queue
-- ARGV[3] how many jobs at most
-- ARGV[4...] the priority of each stream
-- Returns {what, jobs, ms}: what is 'ok', 'gone' (the worker's lease has ended), 'paused' or 'levels' (there is a
-- priority of which the caller has not named the stream, and nothing was taken). Each job is {stream (from 0), entry id,
-- job id}; ms until the next scheduled job, or -1.
local GROUP, AT_ONCE, GONE_AT_ONCE = 'workers', 200, 10
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local worker, most = ARGV[1], tonumber(ARGV[3])
if not redis.call('ZSCORE', KEYS[1], worker) then
  return {'gone', {}, -1}
end
if redis.call('SISMEMBER', KEYS[6], ARGV[2]) == 1 then
  return {'paused', {}, -1}
end

local streams, jobs = {}, {}
for at = 4, #ARGV do
  streams[ARGV[at]] = KEYS[at + 4]
end
-- Jobs of a priority that it does not know may be more urgent, and are perhaps what a worker that is gone had in hand.
for _, priority in ipairs(redis.call('SMEMBERS', KEYS[7])) do
  if not streams[priority] then
    return {'levels', {}, -1}
  end
end

local function move_due(waiting)
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', waiting, '-inf', now, 'LIMIT', 0, AT_ONCE)) do
    local id, priority = string.match(member, '^(.*):(.*)$')
    redis.call('ZREM', waiting, member)
    redis.call('XADD', streams[priority], '*', 'j', id)
  end
end

local function note(at, entries)
  for _, entry in ipairs(entries) do
    if entry[2] then
      jobs[#jobs + 1] = {at - 8, entry[1], entry[2][2]}
    end
  end
end

local function read(at)
  local command = {'XREADGROUP', 'GROUP', GROUP, worker, 'COUNT', most - #jobs, 'STREAMS', KEYS[at], '>'}
  local answer = redis.pcall(unpack(command))
  if answer and answer.err then
    redis.call('XGROUP', 'CREATE', KEYS[at], GROUP, '0', 'MKSTREAM')
    answer = redis.call(unpack(command))
  end
  if answer then
    note(at, answer[1][2])
  end
end

-- Whether the one that is gone holds nothing more in this stream.
local function take_over(at, gone)
  local pending = redis.pcall('XPENDING', KEYS[at], GROUP, '-', '+', most - #jobs + 1, gone)
  if pending.err then
    return true
  end
  for count, one in ipairs(pending) do
    if #jobs >= most then
      return false
    end
    note(at, redis.call('XCLAIM', KEYS[at], GROUP, worker, 0, one[1]))
  end
  redis.call('XGROUP', 'DELCONSUMER', KEYS[at], GROUP, gone)
  return true
end

for _, ended in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. now)) do
  redis.call('ZREM', KEYS[1], ended)
  redis.call('ZADD', KEYS[2], now, ended)
  if ended == worker then
    return {'gone', {}, -1}
  end
end
move_due(KEYS[3])
move_due(KEYS[4])
for _, gone in ipairs(redis.call('ZRANGE', KEYS[2], 0, GONE_AT_ONCE - 1)) do
  local empty = true
  for at = 8, #KEYS do
    empty = take_over(at, gone) and empty
  end
  if empty then
    redis.call('ZREM', KEYS[2], gone)
  end
end
for at = 8, #KEYS do
  if #jobs < most then
    read(at)
  end
end
if #jobs == most and redis.call('LLEN', KEYS[5]) == 0 then
  redis.call('LPUSH', KEYS[5], 1) -- there may be more, for others
end

local soonest = -1
for _, waiting in ipairs({KEYS[3], KEYS[4]}) do
  local due = redis.call('ZRANGE', waiting, 0, 0, 'WITHSCORES')[2]
  if due then
    local ms = math.max(0, due - now)
    soonest = soonest < 0 and ms or math.min(soonest, ms)
  end
end
return {'ok', jobs, soonest}
