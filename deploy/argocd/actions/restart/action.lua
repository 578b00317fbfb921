-- As `kubectl lifecycle retry --restart`: again from the start, as a new revision with every hook.
sound()
local annotations = obj.metadata.annotations or {}
annotations["releaselifecycle.dev/restartAt"] = os.date("!%Y-%m-%dT%XZ")
obj.metadata.annotations = annotations
return obj
