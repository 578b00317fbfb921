//! Manifests: Kubernetes objects as text and as untyped values, read within a budget of memory, and
//! changed by patches in kustomize's shape.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

pub mod bounded;
pub mod json;
pub mod memory;
pub mod patches;
pub mod placed;
pub mod values;
pub mod yaml;
