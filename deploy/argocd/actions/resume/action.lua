-- As `kubectl lifecycle resume`.
obj.spec.suspend = nil
return obj
