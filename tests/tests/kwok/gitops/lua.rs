//! Argo CD's scripts by a real Lua interpreter.

use anyhow::{Context, Result};
use mlua::{Lua, LuaOptions, LuaSerdeExt, StdLib, Table, Value as LuaValue};
use serde_json::Value;

const SCRIPT: &str = include_str!("../../../../deploy/argocd/health.lua");

/// The status and the message that Argo CD shows for the object.
pub(super) fn health(object: &Value) -> Result<(String, String)> {
    let answer = eval(SCRIPT, object)?;
    let text = |key: &str| answer[key].as_str().map(str::to_owned).context("a text");
    Ok((text("status")?, text("message")?))
}

/// Returns what the script returns for the object.
pub(super) fn eval(script: &str, object: &Value) -> Result<Value> {
    // Argo CD gives a script the basic functions and tables, of `os` the time, and nothing of the machine.
    let lua = Lua::new_with(StdLib::TABLE | StdLib::OS, LuaOptions::default()).map_err(said)?;
    let os: Table = lua.globals().get("os").map_err(said)?;
    let safe = lua.create_table().map_err(said)?;
    for name in ["date", "time"] {
        let function: LuaValue = os.get(name).map_err(said)?;
        safe.set(name, function).map_err(said)?;
    }
    lua.globals().set("os", safe).map_err(said)?;
    // A field that is null is absent there.
    let options = mlua::SerializeOptions::new().serialize_none_to_null(false);
    let options = options.serialize_unit_to_null(false).set_array_metatable(false);
    let object = lua.to_value_with(object, options).map_err(said)?;
    lua.globals().set("obj", object).map_err(said)?;
    let answer: LuaValue = lua.load(script).eval().map_err(said)?;
    answer.as_table().context("the script returns a table")?;
    lua.from_value(answer).map_err(said)
}

/// Its error type cannot be sent to other threads.
fn said(error: mlua::Error) -> anyhow::Error {
    anyhow::anyhow!("{error}")
}
