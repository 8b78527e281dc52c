#!lua flags=allow-oom
-- Notes that a worker begins jobs that it has taken.
-- Runs on a server that is out of memory, too: jobs that end give memory back.
-- KEYS[1] the queue's workers, by the end of their lease (ms)
-- KEYS[2] unique jobs: digest → id
-- KEYS[3] jobs to be cancelled
-- KEYS[4...] the record of each job
-- ARGV[1] the worker
-- ARGV[2...] the id of each job
-- Returns 0 if the worker's lease has ended, else for each job {payload, workers of all tries joined by ',', errors or
-- false, time (µs), state before, how often it was put off}, or false if there is nothing to do: it has ended, or was discarded.
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  return 0
end
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000000 + time[2])
local begun, cancelling = {}, redis.call('EXISTS', KEYS[3]) == 1
for at = 4, #KEYS do
  local found = redis.call('HMGET', KEYS[at], 'd', 's', 'w', 'e', 'u', 'o')
  local payload, state, workers, errors, unique, put_off = unpack(found)
  if not payload or state == 'done' or state == 'failed' then
    begun[#begun + 1] = false
  else
    if cancelling and redis.call('SISMEMBER', KEYS[3], ARGV[at - 2]) == 1 then
      state = 'cancelled' -- it was still in the outbox then
    end
    -- Where this worker runs it already, the answer was lost that said so: this is the same try.
    if state ~= 'running' or (',' .. workers):sub(-#ARGV[1] - 1) ~= ',' .. ARGV[1] then
      workers = workers and workers .. ',' .. ARGV[1] or ARGV[1]
    end
    if state ~= 'cancelled' then
      redis.call('HSET', KEYS[at], 's', 'running', 'w', workers, 'l', now)
      redis.call('HSETNX', KEYS[at], 'b', now)
    end
    if unique and redis.call('HGET', KEYS[2], unique) == ARGV[at - 2] then
      redis.call('HDEL', KEYS[2], unique)
    end
    begun[#begun + 1] = {payload, workers, errors, now, state, put_off or 0}
  end
end
return begun
