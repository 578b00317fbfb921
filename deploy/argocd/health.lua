-- Argo CD's view of a ReleaseLifecycle: Healthy, Progressing, Degraded or Suspended.
-- Argo CD calls this with the object in `obj`, in Lua 5.1 with its basic functions alone.

local status = obj.status or {}
local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end
local ready = conditions.Ready

local function health(word, condition)
  return {status = word, message = condition and condition.message or ""}
end

-- An operation that began before may be held: its conditions are of the spec that it serves.
if obj.spec.suspend and ready ~= nil and ready.reason == "Suspended" then
  return health("Suspended", ready)
end
-- What the conditions say of an older spec says nothing of this one.
if ready == nil or status.observedGeneration ~= obj.metadata.generation then
  local message = "the operator has not observed this spec yet"
  if ready ~= nil then
    message = message .. "; of the one before it says: " .. ready.message
  end
  return {status = "Progressing", message = message}
end

-- Nothing continues until somebody changes something, suspended or not.
if conditions.Stalled ~= nil and conditions.Stalled.status == "True" then
  return health("Degraded", conditions.Stalled)
end
if obj.spec.suspend then
  return health("Suspended", ready)
end
if conditions.Reconciling ~= nil and conditions.Reconciling.status == "True" then
  return health("Progressing", conditions.Reconciling)
end
if ready.status == "True" then
  return health("Healthy", ready)
end
-- Such as tests that failed and count.
if ready.status == "False" then
  return health("Degraded", ready)
end
return health("Progressing", ready)
