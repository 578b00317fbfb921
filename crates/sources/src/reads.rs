use lifecycle::object::ObjectRef;
use serde_json::Value;

/// Reads the cluster on behalf of one release, or files in its place.
pub trait Reads: Sync {
    /// The reason why something could not be read.
    type Error: Send;

    /// Returns the object; `None` if there is none of this name.
    fn get(
        &self,
        object: &ObjectRef,
    ) -> impl Future<Output = Result<Option<Value>, Self::Error>> + Send;

    /// Returns whether the cluster serves the kind of `object`.
    fn serves(&self, object: &ObjectRef) -> impl Future<Output = Result<bool, Self::Error>> + Send;

    /// Returns where an object was searched that [`Self::get`] has not found, and what to do: `does
    /// not exist in namespace shop; create it, or correct the name`.
    fn absence(&self) -> String;
}
