-- Removes what nobody needs any more from a stream: entries that all groups have acknowledged, consumers that went
-- away, and groups that no worker declares and nobody consumes.
-- KEYS[1] the stream
-- ARGV[1] ms after which a consumer without entries has gone
-- ARGV[2] ms after which a group that is not declared has gone, if none of its consumers has been heard of
-- ARGV[3] how many entries are kept of a stream that has no group
-- ARGV[4...] the declared groups
-- Returns {entries removed, {consumers removed}, {groups removed}}
if redis.call('EXISTS', KEYS[1]) == 0 then
  return {0, {}, {}}
end
local declared, missing = {}, 0
for at = 4, #ARGV do
  declared[ARGV[at]] = true
  missing = missing + 1
end
local gone, detached, floor = {}, {}, nil

local function fields(list)
  local found = {}
  for at = 1, #list, 2 do
    found[list[at]] = list[at + 1]
  end
  return found
end

local function is_left(name)
  for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], name)) do
    if fields(consumer).idle < tonumber(ARGV[2]) then
      return false
    end
  end
  return true
end

local function tidy(name)
  for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], name)) do
    local found = fields(consumer)
    if found.idle >= tonumber(ARGV[1]) and found.pending == 0 then
      redis.call('XGROUP', 'DELCONSUMER', KEYS[1], name, found.name)
      gone[#gone + 1] = found.name
    end
  end
end

for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local found = fields(group)
  if declared[found.name] then
    missing = missing - 1
    tidy(found.name)
  elseif is_left(found.name) then
    redis.call('XGROUP', 'DESTROY', KEYS[1], found.name)
    detached[#detached + 1] = found.name
    found = nil
  end
  if found then
    local first = tonumber(string.match(found['last-delivered-id'], '^%d+')) + 1
    if found.pending > 0 then
      first = tonumber(string.match(redis.call('XPENDING', KEYS[1], found.name)[2], '^%d+'))
    end
    floor = math.min(floor or first, first)
  end
end

if missing > 0 then
  return {0, gone, detached}  -- a group whose first consumer has yet to come wants all that is there
end
local removed
if floor then
  removed = redis.call('XTRIM', KEYS[1], 'MINID', string.format('%.0f', floor))
else
  removed = redis.call('XTRIM', KEYS[1], 'MAXLEN', ARGV[3])
end
return {removed, gone, detached}
