-- Reads some of a room's newest messages, and the version that they stand for, in one step.
-- KEYS[1] the room's history
-- ARGV[1] number of the first message   ARGV[2] number of the last
-- Returns {version, message…} in the order of the numbers, or {} where there is no history.
local answer = redis.call('ZRANGE', KEYS[1], 0, 0, 'BYSCORE')
if answer[1] then
  for _, message in ipairs(redis.call('ZRANGE', KEYS[1], ARGV[1], ARGV[2], 'BYSCORE')) do
    table.insert(answer, message)
  end
end
return answer
