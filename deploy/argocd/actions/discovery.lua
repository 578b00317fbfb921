-- Which of its actions Argo CD offers for a ReleaseLifecycle: those that `kubectl lifecycle` would make a
-- request for. Argo CD calls this with the object in `obj`, in Lua 5.1 with its basic functions alone.

local status = obj.status or {}
local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end
local ready = conditions.Ready
local stalled = conditions.Stalled ~= nil and conditions.Stalled.status == "True"
local suspended = obj.spec.suspend == true

local running = status.operation
if running ~= nil and running.completedAt ~= nil then
  running = nil
end

-- The hooks at work: one waits for a request, or for its next attempt.
local blocked, pauses = false, false
local function at_work(hook)
  blocked = blocked or hook.step == "Blocked"
  pauses = pauses or hook.notBefore ~= nil
end
if running ~= nil then
  if running.hook ~= nil then
    at_work(running.hook)
  end
  for _, hook in ipairs(running.beside or {}) do
    at_work(hook)
  end
end

local retries
if running ~= nil then
  retries = stalled or blocked or pauses
else
  retries = ready == nil or ready.status ~= "True"
    or (status.observedGeneration or -1) < (obj.metadata.generation or 0)
end

local plan = nil
if running == nil then
  plan = status.plan
end
local annotations = obj.metadata.annotations or {}
local waits = plan ~= nil and annotations["releaselifecycle.dev/approvedPlan"] ~= plan.digest

local unsafe = lossy()
local function action(name, enabled)
  return {displayName = name, disabled = unsafe or not enabled}
end

return {
  retry = action("Retry: resume where it failed", retries),
  restart = action("Restart: a new revision with every hook", true),
  cancel = action("Cancel what runs", running ~= nil and running.event ~= "Delete"),
  skip = action("Skip the hook", obj.metadata.deletionTimestamp ~= nil or blocked),
  test = action("Run the tests", true),
  approve = action("Approve the plan", waits),
  suspend = action("Suspend", not suspended),
  resume = action("Resume", suspended),
}
