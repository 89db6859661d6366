//! A template of the resource manager with a job in it: `resources`, `parameters`, `variables`.
//!
//! Expressions are not computed, but for the two that exports have: `[parameters('x')]` with a default, and `[variables('x')]`.
//! Parts of a job may stand inside its resource, in the resource's own `resources`, or beside it under names such as
//! `job/input`.

use super::error::JobError;
use super::node::find;
use serde_json::{Map, Value, json};

const JOB: &str = "Microsoft.StreamAnalytics/streamingjobs";

/// The job of a template as one resource; `None` where this is no template but a resource itself.
pub(super) fn resource(template: &Value) -> Result<Option<Value>, JobError> {
    let Some(resources) = list(template, "resources").filter(|_| !has(template, "properties")) else {
        return Ok(None);
    };
    let resources: Vec<Value> = resources.iter().map(|resource| resolved(resource, template, 0)).collect();
    let jobs: Vec<&Value> =
        resources.iter().filter(|resource| ty(resource).eq_ignore_ascii_case(JOB)).collect();
    let [job] = jobs.as_slice() else {
        let names: Vec<_> = jobs.iter().map(|job| last_name(job)).collect();
        return Err(if jobs.is_empty() {
            JobError::NoJob
        } else {
            JobError::SeveralJobs { count: jobs.len(), names: names.join(", ") }
        });
    };
    let mut whole = (*job).clone();
    let own = list(job, "resources").unwrap_or_default();
    for part in own.iter().chain(&resources) {
        add(&mut whole, part);
    }
    if let Some(members) = whole.as_object_mut() {
        let name = last_name(job);
        members.retain(|member, _| !member.eq_ignore_ascii_case("name"));
        members.insert("name".to_owned(), name.into());
    }
    Ok(Some(whole))
}

/// Puts a part that stands by itself where parts of a resource stand.
fn add(job: &mut Value, part: &Value) {
    let kind = ty(part).rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    let child =
        ty(part).len() == kind.len() || ty(part).to_ascii_lowercase().starts_with(&JOB.to_ascii_lowercase());
    if !child || !matches!(kind.as_str(), "inputs" | "outputs" | "functions" | "transformations") {
        return;
    }
    let Some(members) = job.as_object_mut() else { return };
    let properties = entry(members, "properties", || json!({}));
    let Some(properties) = properties.as_object_mut() else { return };
    let content = json!({"name": last_name(part), "properties": member(part, "properties").cloned()});
    if kind == "transformations" {
        *entry(properties, "transformation", || Value::Null) = content;
    } else if let Some(list) = entry(properties, &kind, || json!([])).as_array_mut() {
        list.push(content);
    }
}

fn entry<'a>(members: &'a mut Map<String, Value>, name: &str, new: impl FnOnce() -> Value) -> &'a mut Value {
    let name = find(members, name).map_or_else(|| name.to_owned(), |(known, _)| known.clone());
    let value = members.entry(name).or_insert_with(new);
    if value.is_null() {
        *value = json!([]);
    }
    value
}

fn member<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    find(value.as_object()?, name).map(|(_, value)| value)
}

fn has(value: &Value, name: &str) -> bool {
    member(value, name).is_some()
}

fn list<'a>(value: &'a Value, name: &str) -> Option<&'a [Value]> {
    member(value, name)?.as_array().map(Vec::as_slice)
}

fn ty(resource: &Value) -> &str {
    member(resource, "type").and_then(Value::as_str).unwrap_or_default()
}

/// The last part of a resource's name, also of `[concat(parameters('job'), '/input')]`.
fn last_name(resource: &Value) -> String {
    let name = member(resource, "name").and_then(Value::as_str).unwrap_or_default();
    let name = name.rsplit('/').next().unwrap_or_default();
    name.trim_start_matches("[parameters('").trim_matches(|c| "[]()'".contains(c)).to_owned()
}

/// How deep values of parameters are looked into.
const MAX_DEPTH: usize = 64;

/// A value with the parameters and variables in it as far as they are known.
fn resolved(value: &Value, template: &Value, depth: usize) -> Value {
    if depth == MAX_DEPTH {
        return value.clone();
    }
    match value {
        Value::String(text) => known(text, template).cloned().unwrap_or_else(|| value.clone()),
        Value::Array(items) => items.iter().map(|item| resolved(item, template, depth + 1)).collect(),
        Value::Object(members) => {
            let member =
                |(name, value): (&String, &Value)| (name.clone(), resolved(value, template, depth + 1));
            Value::Object(members.iter().map(member).collect())
        }
        other => other.clone(),
    }
}

fn known<'a>(text: &str, template: &'a Value) -> Option<&'a Value> {
    let name = |function: &str| text.strip_prefix(function)?.strip_suffix("')]");
    if let Some(name) = name("[parameters('") {
        let parameter = member(member(template, "parameters")?, name)?;
        return member(parameter, "defaultValue").or_else(|| member(parameter, "value"));
    }
    member(member(template, "variables")?, name("[variables('")?)
}
