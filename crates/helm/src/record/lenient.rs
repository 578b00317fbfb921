//! The differences of Go's JSON from serde's: `null` for anything, zero times, empty text for no
//! value.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::{Phase, Status};

/// Reads `null` as the default, as Go does.
pub(super) fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads `""` and `null` as `None`.
pub(super) fn or_none<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    match Option::<Value>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(value) => T::deserialize(value).map(Some).map_err(serde::de::Error::custom),
    }
}

pub(super) fn or_unknown<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Status, D::Error> {
    Ok(or_none(deserializer)?.unwrap_or_default())
}

#[expect(
    clippy::ref_option,
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
pub(super) fn empty_if_none<S: serde::Serializer>(
    phase: &Option<Phase>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match phase {
        Some(phase) => phase.serialize(serializer),
        None => serializer.serialize_str(""),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
pub(super) fn is_zero(number: &i32) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
pub(super) fn is_zero_weight(number: &i64) -> bool {
    *number == 0
}

/// No time: Helm 3 writes `""`, Helm 4 nothing, and Go by itself the year 1.
pub(super) mod zero_time {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serialize};

    const GO_ZERO_SECOND: i64 = -62_135_596_800;

    pub(in crate::record) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        match Option::<String>::deserialize(deserializer)?.as_deref() {
            None | Some("") => Ok(None),
            Some(text) => {
                let time: Timestamp = text.parse().map_err(serde::de::Error::custom)?;
                Ok((time.as_second() != GO_ZERO_SECOND).then_some(time))
            }
        }
    }

    #[expect(clippy::ref_option, reason = "serde passes a reference")]
    pub(in crate::record) fn serialize<S: serde::Serializer>(
        time: &Option<Timestamp>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        time.serialize(serializer)
    }
}
