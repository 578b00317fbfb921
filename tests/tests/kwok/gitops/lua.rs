//! Argo CD's health check by a real Lua interpreter.

use anyhow::{Context, Result};
use mlua::{Lua, LuaOptions, LuaSerdeExt, StdLib, Value as LuaValue};
use serde_json::Value;

const SCRIPT: &str = include_str!("../../../../deploy/argocd/health.lua");

/// The status and the message that Argo CD shows for the object.
pub(super) fn health(object: &Value) -> Result<(String, String)> {
    // Argo CD gives a script the basic functions and tables, and nothing of the machine.
    let lua = Lua::new_with(StdLib::TABLE, LuaOptions::default()).map_err(said)?;
    // A field that is null is absent there.
    let options = mlua::SerializeOptions::new().serialize_none_to_null(false);
    let options = options.serialize_unit_to_null(false).set_array_metatable(false);
    let object = lua.to_value_with(object, options).map_err(said)?;
    lua.globals().set("obj", object).map_err(said)?;
    let answer: LuaValue = lua.load(SCRIPT).eval().map_err(said)?;
    let answer = answer.as_table().context("the script returns a table")?;
    Ok((answer.get("status").map_err(said)?, answer.get("message").map_err(said)?))
}

/// Its error type cannot be sent to other threads.
fn said(error: mlua::Error) -> anyhow::Error {
    anyhow::anyhow!("{error}")
}
