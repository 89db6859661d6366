//! What a module's spec runs: the program, its arguments, its environment. The rule of safety is kept here.

use super::image::{ends_with, repository};
use super::options::Options;
use super::{ImageCommand, ProcessConfig};
use crate::runtime::{ModuleSpec, RuntimeError};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a module sees of this process's own environment: where programs are, who the user is, language and time zone.
const INHERITED: [&str; 7] = ["PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "TZ"];
/// The module's own folder.
const STATE_VARIABLE: &str = "IRONBROOK_STATE_DIR";
/// Variables of a deployment that are dropped: by them loaders, shells and interpreters find or run code.
const LOADING: [&str; 23] = [
    "PATH",
    "HOME",
    "BASH_ENV",
    "SHELLOPTS",
    "BASHOPTS",
    "PS4",
    "PROMPT_COMMAND",
    "IFS",
    "NODE_OPTIONS",
    "NODE_PATH",
    "NODE_REPL_EXTERNAL_MODULE",
    "PERL5LIB",
    "PERL5OPT",
    "PERL5DB",
    "RUBYLIB",
    "RUBYOPT",
    "JAVA_TOOL_OPTIONS",
    "_JAVA_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "CLASSPATH",
    "BROWSER",
    "OPENSSL_CONF",
    "GCONV_PATH",
];
/// The same, by how they begin.
const LOADING_PREFIXES: [&str; 9] =
    ["LD_", "DYLD_", "BASH_FUNC_", "DOTNET_", "CORECLR_", "COMPLUS_", "GLIBC_", "LUA_", STATE_VARIABLE];
/// Python has many such variables; these are harmless.
const PYTHON_HARMLESS: [&str; 7] = [
    "PYTHONUNBUFFERED",
    "PYTHONUTF8",
    "PYTHONIOENCODING",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONHASHSEED",
    "PYTHONFAULTHANDLER",
    "PYTHONASYNCIODEBUG",
];

/// A process to be started.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Launch {
    pub program: PathBuf,
    pub arguments: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub working_directory: PathBuf,
    /// Whether it may have children of its own.
    pub foreign: bool,
    /// Members of createOptions that mean nothing here, and variables that are dropped.
    ignored: Vec<String>,
    dropped: Vec<String>,
}

impl Launch {
    /// Decides what a spec runs; `folder` is the module's.
    pub fn of(spec: &ModuleSpec, config: &ProcessConfig, folder: &Path) -> Result<Self, RuntimeError> {
        let options_error =
            |reason: String| RuntimeError::CreateOptions { module: spec.name.clone(), reason };
        let Options { env, arguments: appended, mut ignored } =
            Options::read(&spec.create_options).map_err(options_error)?;
        let state = folder.join("state");
        let (program, mut arguments, directory, take) = find(spec, config)?;
        if take {
            arguments.extend(appended);
        } else if !appended.is_empty() {
            ignored.push("Entrypoint and Cmd".to_owned());
        }
        let (given, dropped) = sieve(env.into_iter().chain(spec.env.clone())).map_err(options_error)?;
        let inherited =
            INHERITED.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)));
        let mut env: BTreeMap<String, String> = inherited.collect();
        env.extend(given);
        env.insert(STATE_VARIABLE.to_owned(), state.to_string_lossy().into_owned());
        let foreign = program != config.program;
        let working_directory = directory.unwrap_or(state);
        Ok(Self { program, arguments, env, working_directory, foreign, ignored, dropped })
    }

    /// One line for all that a deployment asks for and a process does not get.
    pub fn tell_what_is_ignored(&self, module: &str) {
        if !self.ignored.is_empty() {
            tracing::info!(module, ignored = ?self.ignored, "createOptions without meaning for a process are ignored");
        }
        if !self.dropped.is_empty() {
            tracing::warn!(module, dropped = ?self.dropped, "variables by which a program could load other code are dropped");
        }
    }
}

/// Program, arguments, folder, and whether the deployment may append arguments.
type Found = (PathBuf, Vec<String>, Option<PathBuf>, bool);

// rule PROCESS-01
fn find(spec: &ModuleSpec, config: &ProcessConfig) -> Result<Found, RuntimeError> {
    let repository = repository(&spec.image);
    let mapped = config.images.iter().find(|image| ends_with(repository, &image.repository));
    if let Some(ImageCommand { command, working_directory, arguments, .. }) = mapped {
        let Some((program, rest)) = command.split_first() else {
            return Err(no_image(spec, "the command configured for it is empty; name a program"));
        };
        return Ok((program.into(), rest.to_vec(), working_directory.clone(), *arguments));
    }
    let builtin = config.builtin.iter().find(|(suffix, _)| ends_with(repository, suffix));
    match builtin {
        Some((_, arguments)) => Ok((config.program.clone(), arguments.clone(), None, false)),
        None => Err(no_image(
            spec,
            "map its repository to a command in the configuration of the edge, under `images`",
        )),
    }
}

fn no_image(spec: &ModuleSpec, cure: &str) -> RuntimeError {
    RuntimeError::NoImage { module: spec.name.clone(), image: spec.image.clone(), cure: cure.to_owned() }
}

type Variables = Vec<(String, String)>;

/// What of a deployment's variables a module gets, and the names of those it does not.
fn sieve(given: impl Iterator<Item = (String, String)>) -> Result<(Variables, Vec<String>), String> {
    let (mut kept, mut dropped) = (Vec::new(), Vec::new());
    for (name, value) in given {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(format!("the variable {name:?} cannot be set"));
        }
        if loads_code(&name) { dropped.push(name) } else { kept.push((name, value)) }
    }
    Ok((kept, dropped))
}

fn loads_code(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    LOADING.contains(&name.as_str())
        || LOADING_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || (name.starts_with("PYTHON") && !PYTHON_HARMLESS.contains(&name.as_str()))
}

#[cfg(test)]
mod tests;
