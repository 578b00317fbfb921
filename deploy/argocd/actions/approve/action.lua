-- As `kubectl lifecycle approve`: the plan that status shows may run, exactly as it is.
--
-- Argo CD does not tell a script who clicks, and the API server accepts only the user of the request: that
-- is Argo CD's server, for its own cluster. Put in another name if your Argo CD has another one, or manages
-- this cluster from elsewhere. Argo CD's RBAC says who may approve, and its log who did.
sound()
local server = "system:serviceaccount:argocd:argocd-server"

local annotations = obj.metadata.annotations or {}
annotations["releaselifecycle.dev/approvedPlan"] = obj.status.plan.digest
annotations["releaselifecycle.dev/approvedBy"] = server
obj.metadata.annotations = annotations
return obj
