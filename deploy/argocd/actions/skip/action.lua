-- As `kubectl lifecycle skip`: skip the hook that waits for a request; of a deletion, all that remain.
sound()
local annotations = obj.metadata.annotations or {}
annotations["releaselifecycle.dev/skipAt"] = os.date("!%Y-%m-%dT%XZ")
obj.metadata.annotations = annotations
return obj
