-- As `kubectl lifecycle retry`: resume where it failed, with one more attempt at its hook.
sound()
local annotations = obj.metadata.annotations or {}
annotations["releaselifecycle.dev/retryAt"] = os.date("!%Y-%m-%dT%XZ")
obj.metadata.annotations = annotations
return obj
