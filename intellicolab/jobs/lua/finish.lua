#!lua flags=allow-oom
-- Notes what became of jobs that a worker has taken from one stream.
-- Runs on a server that is out of memory, too: jobs that end give memory back.
-- KEYS[1] the queue's workers, by the end of their lease (ms)
-- KEYS[2] the stream
-- KEYS[3] the queue's scheduled jobs
-- KEYS[4] its jobs that are tried again
-- KEYS[5] its bell
-- KEYS[6] jobs to be cancelled
-- KEYS[7] unique jobs: digest → id
-- KEYS[8] dead jobs, by when they were given up (ms)
-- KEYS[9...] the record of each job; then three keys for each batch: the record, the stream and the bell of its last job
-- ARGV[1] the worker
-- ARGV[2] the stream's priority
-- ARGV[3] how many dead jobs are kept
-- ARGV[4] how many jobs
-- ARGV[5...] seven a job: entry id, job id, what, value, ms, unique digest or '', batch (from 1) or 0.
--   done: value is the result as JSON, ms how long it is kept
--   dead, cancelled: value are all errors as JSON, ms how long it is kept
--   again: value are all errors as JSON, ms until the next try
--   later: value are the workers of the earlier tries, ms until it is taken again; it was not tried now
--   drop: nothing, its record says the rest
-- Returns 0 if the worker's lease has ended, and nothing was noted, else 1. What was noted before is left as it is.
local GROUP = 'workers'
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  return 0
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local exactly = string.format('%.0f', time[1] * 1000000 + time[2])
local count = tonumber(ARGV[4])
local rings, cancelling = false, redis.call('EXISTS', KEYS[6]) == 1

local function wait(waiting, id, ms)
  -- Who is cancelled is taken at once, to end: until a next try it would stand in the place of another unique one.
  if ms == 0 or (cancelling and redis.call('SISMEMBER', KEYS[6], id) == 1) then
    redis.call('XADD', KEYS[2], '*', 'j', id)
  else
    redis.call('ZADD', waiting, now + ms, id .. ':' .. ARGV[2])
  end
  rings = true
end

local note = {}

function note.done(record, id, value, ms)
  if ms == 0 then
    redis.call('UNLINK', record)
  else
    redis.call('HSET', record, 's', 'done', 'r', value, 'f', exactly)
    redis.call('PEXPIRE', record, ms)
  end
  return true
end

function note.cancelled(record, id, value, ms)
  redis.call('HSET', record, 's', 'failed', 'e', value, 'f', exactly)
  redis.call('PEXPIRE', record, ms)
  return true
end

function note.dead(record, id, value, ms)
  redis.call('ZADD', KEYS[8], now, id)
  redis.call('ZREMRANGEBYRANK', KEYS[8], 0, -1 - ARGV[3])
  redis.call('ZREMRANGEBYSCORE', KEYS[8], '-inf', now - ms) -- their records have gone
  return note.cancelled(record, id, value, ms)
end

function note.again(record, id, value, ms)
  redis.call('HSET', record, 's', 'ready', 'e', value)
  wait(KEYS[4], id, ms)
end

function note.later(record, id, value, ms)
  if value == '' then
    redis.call('HDEL', record, 'w', 'b', 'l')
  else
    redis.call('HSET', record, 'w', value)
  end
  redis.call('HSET', record, 's', 'ready')
  if ms > 0 then
    redis.call('HINCRBY', record, 'o', 1)
  end
  wait(KEYS[3], id, ms)
end

function note.drop()
end

-- The last of a batch to end lets its last job go.
local function count_down(at, what)
  local record, stream, bell = KEYS[at], KEYS[at + 1], KEYS[at + 2]
  if redis.call('HGET', record, 's') ~= 'held' then
    return
  end
  if what ~= 'done' then
    redis.call('HINCRBY', record, 'lost', 1)
  end
  if redis.call('HINCRBY', record, 'left', -1) <= 0 then
    redis.call('HSET', record, 's', 'ready')
    redis.call('XADD', stream, '*', 'j', redis.call('HGET', record, 'i'))
    if redis.call('LLEN', bell) == 0 then
      redis.call('LPUSH', bell, 1)
    end
  end
end

for job = 1, count do
  local at = 7 * job - 2
  local entry, id, what, unique = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 5]
  local batch = tonumber(ARGV[at + 6])
  if redis.call('XACK', KEYS[2], GROUP, entry) == 1 then -- else an answer was lost, and this is the second time
    redis.call('XDEL', KEYS[2], entry)
    if what == 'later' and unique ~= '' then
      redis.call('HSETNX', KEYS[7], unique, id) -- it has not begun, so one that is unique until then is so again
    end
    local ended = note[what](KEYS[8 + job], id, ARGV[at + 3], tonumber(ARGV[at + 4]))
    if ended and unique ~= '' and redis.call('HGET', KEYS[7], unique) == id then
      redis.call('HDEL', KEYS[7], unique)
    end
    if ended and cancelling then
      redis.call('SREM', KEYS[6], id)
    end
    if ended and batch > 0 then
      count_down(6 + count + 3 * batch, what)
    end
  end
end
if rings and redis.call('LLEN', KEYS[5]) == 0 then
  redis.call('LPUSH', KEYS[5], 1)
end
return 1
