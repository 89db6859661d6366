//! The engine that scripts run in: QuickJS, one runtime per function.

use super::convert::{self, Budget, Problem};
use super::state::State;
use super::{Function, FunctionError, MAX_MEMORY, MAX_STEPS};
use crate::value::{DateTime, EvalError, Value};
use rquickjs::context::EvalOptions;
use rquickjs::context::intrinsic::{Date, Eval, Json, MapSet, RegExp, RegExpCompiler, TypedArrays};
use rquickjs::function::Args;
use rquickjs::{Context, Ctx, Error, Function as Script, Object, Runtime, Value as Js};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A script that has been run once. Calls from several threads wait for each other.
pub(super) struct Sandbox {
    context: Context,
    /// How often the engine may ask yet whether to go on.
    left: Arc<AtomicU32>,
}

/// Why a call gave nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    line: Option<u32>,
    message: String,
}

/// The engine asks after so many steps.
const STEPS_PER_QUESTION: u32 = 10_000;
/// How deep calls in a script may go, in bytes of the engine's stack; a thread of the runtime has 2 MiB.
const MAX_STACK: usize = 256 << 10;
/// How much of an error's text is kept.
const MAX_MESSAGE: usize = 300;

/// Where things are kept in the sandbox, under names that no script has by chance.
const MAIN: &str = "\u{1}main";
const INSTANCE: &str = "\u{1}instance";

impl Sandbox {
    /// Runs a script, which defines its function.
    pub(super) fn new(name: &str, script: &str) -> Result<Self, Failure> {
        let engine = |error: Error| Failure::new(format!("the script engine does not start: {error}"));
        let runtime = Runtime::new().map_err(engine)?;
        runtime.set_memory_limit(MAX_MEMORY);
        runtime.set_max_stack_size(MAX_STACK);
        let left = Arc::new(AtomicU32::new(0));
        let question = left.clone();
        runtime.set_interrupt_handler(Some(Box::new(move || spend(&question))));
        let context =
            Context::custom::<(Date, Eval, RegExpCompiler, RegExp, Json, MapSet, TypedArrays)>(&runtime)
                .map_err(engine)?;
        let sandbox = Self { context, left };
        sandbox.within(|ctx| {
            let globals = ctx.globals();
            for name in ["Date", "Map", "Set"] {
                globals.set(format!("\u{1}{name}"), globals.get::<_, Js<'_>>(name)?)?;
            }
            let main = define(ctx, name, script)?;
            Ok(globals.set(MAIN, main)?)
        })?;
        Ok(sandbox)
    }

    /// Whether the function makes objects that can accumulate.
    pub(super) fn has_accumulate(&self) -> bool {
        // A scalar function may fail without arguments, or do nothing.
        self.within(|ctx| Ok(instance(ctx)?.get::<_, Js<'_>>("accumulate")?.is_function())).unwrap_or(false)
    }

    /// The value for some arguments.
    pub(super) fn call(&self, arguments: &[Value]) -> Result<Value, Failure> {
        self.within(|ctx| {
            let main: Script<'_> = ctx.globals().get(MAIN)?;
            let mut args = Args::new(ctx.clone(), arguments.len());
            for argument in arguments {
                args.push_arg(convert::to_script(ctx, argument)?)?;
            }
            let result: Js<'_> = args.apply(&main)?;
            Ok(convert::from_script(&result, &mut Budget::new())?)
        })
    }

    /// Makes the object whose methods an aggregate has; gives the state behind `init()`.
    pub(super) fn begin(&self) -> Result<State, Failure> {
        self.within(|ctx| {
            let instance = instance(ctx)?;
            for method in ["init", "accumulate", "computeResult"] {
                if !instance.get::<_, Js<'_>>(method)?.is_function() {
                    let message = format!(
                        "an aggregate needs this.{method}: function main() {{ this.init = function () {{}}; \
                         this.accumulate = function (value, timestamp) {{}}; this.computeResult = function () {{}}; }}"
                    );
                    return Err(Failure::new(message));
                }
            }
            method(ctx, &instance, "init", &[])?;
            ctx.globals().set(INSTANCE, instance.clone())?;
            Ok(State::of(&instance)?)
        })
    }

    /// The state with one more event.
    pub(super) fn accumulate(&self, state: &State, value: &Value, time: DateTime) -> Result<State, Failure> {
        self.within(|ctx| {
            let this = restored(ctx, state)?;
            add(ctx, &this, value, time)?;
            Ok(State::of(&this)?)
        })
    }

    /// The result for a state and events behind it.
    pub(super) fn result(&self, state: &State, events: &[(Value, DateTime)]) -> Result<Value, Failure> {
        self.within(|ctx| {
            let this = restored(ctx, state)?;
            for (value, time) in events {
                // Each event has as much time as if it were alone.
                self.refill();
                add(ctx, &this, value, *time)?;
            }
            self.refill();
            let result = method(ctx, &this, "computeResult", &[])?;
            Ok(convert::from_script(&result, &mut Budget::new())?)
        })
    }

    fn refill(&self) {
        self.left.store(MAX_STEPS / STEPS_PER_QUESTION, Ordering::Relaxed);
    }

    /// Does something in the engine, within its limits.
    fn within<T>(&self, work: impl for<'js> FnOnce(&Ctx<'js>) -> Result<T, Failure>) -> Result<T, Failure> {
        self.context.with(|ctx| {
            self.refill();
            let mut result = work(&ctx);
            if let Err(failure) = &mut result {
                if failure.message == PENDING {
                    *failure = Failure::thrown(&ctx);
                }
                // The engine may have more to say of it, which the next call must not take for its own.
                ctx.catch();
            }
            if self.left.load(Ordering::Relaxed) == 0 && result.is_err() {
                let message = format!(
                    "it took more than {MAX_STEPS} steps and was interrupted; is there a loop without end?"
                );
                let line = result.err().and_then(|failure| failure.line);
                return Err(Failure { line, message });
            }
            result
        })
    }
}

/// Whether it is time to end.
fn spend(left: &AtomicU32) -> bool {
    let before = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_sub(1)));
    before.unwrap_or(0) <= 1
}

/// The function that a script defines.
fn define<'js>(ctx: &Ctx<'js>, name: &str, script: &str) -> Result<Script<'js>, Failure> {
    let run = |text: String| ctx.eval_with_options::<Js<'js>, _>(text, options(name));
    let ran = run(script.to_owned()).map(drop);
    if ran.is_ok() {
        for known in ["main", name] {
            let found = run(format!("typeof {known} === 'function' ? {known} : undefined"));
            if let Some(function) = found.ok().and_then(Js::into_function) {
                return Ok(function);
            }
        }
    }
    let failure = ran.err().map(|error| Failure::from(error).told(ctx));
    // A function without a name is no statement, but a value.
    match run(format!("({script}\n)")).map(Js::into_function) {
        Ok(Some(function)) => Ok(function),
        Ok(None) | Err(_) => {
            ctx.catch();
            let message = format!(
                "the script defines no function; write function main(…) {{ … }} or function {name}(…) {{ … }}"
            );
            Err(failure.unwrap_or_else(|| Failure::new(message)))
        }
    }
}

fn options(name: &str) -> EvalOptions {
    let mut options = EvalOptions::default();
    // Scripts of the service are not strict: one of its own examples sets a variable that it does not declare.
    options.strict = false;
    options.filename = Some(name.to_owned());
    options
}

/// A new object of an aggregate's function.
fn instance<'js>(ctx: &Ctx<'js>) -> Result<Object<'js>, Failure> {
    let main: Js<'js> = ctx.globals().get(MAIN)?;
    match main.into_constructor() {
        Some(constructor) => Ok(constructor.construct::<_, Object<'js>>(())?),
        None => {
            Err(Failure::new("an aggregate is a function that can be called with new, no arrow".to_owned()))
        }
    }
}

/// An object with the methods of an aggregate and a state of its own.
fn restored<'js>(ctx: &Ctx<'js>, state: &State) -> Result<Object<'js>, Failure> {
    let instance: Object<'js> = ctx.globals().get(INSTANCE)?;
    let this = Object::new_proto(ctx.clone(), Some(&instance))?;
    state.restore(ctx, &this)?;
    Ok(this)
}

fn add<'js>(ctx: &Ctx<'js>, this: &Object<'js>, value: &Value, time: DateTime) -> Result<(), Failure> {
    let arguments = [convert::to_script(ctx, value)?, convert::date(ctx, time.unix_millis() as f64)?];
    method(ctx, this, "accumulate", &arguments).map(drop)
}

fn method<'js>(
    ctx: &Ctx<'js>,
    this: &Object<'js>,
    name: &str,
    arguments: &[Js<'js>],
) -> Result<Js<'js>, Failure> {
    let method: Script<'js> = this.get(name)?;
    let mut args = Args::new(ctx.clone(), arguments.len());
    args.this(this.clone())?;
    for argument in arguments {
        args.push_arg(argument.clone())?;
    }
    Ok(args.apply(&method)?)
}

/// Stands for an exception that the engine still has.
const PENDING: &str = "\u{1}pending";

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(match error {
            Error::Exception => PENDING.to_owned(),
            Error::Utf8(_) => {
                "it gave a text with half a character; use String.prototype.toWellFormed()".to_owned()
            }
            Error::InvalidString(_) => "the script has a zero byte in it".to_owned(),
            other => other.to_string(),
        })
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::Engine(error) => error.into(),
            Problem::Unsupported(message) => Self::new(message),
        }
    }
}

impl Failure {
    fn new(message: String) -> Self {
        Self { line: None, message }
    }

    /// Itself, or what was thrown if that is what it stands for.
    fn told(self, ctx: &Ctx<'_>) -> Self {
        if self.message == PENDING { Self::thrown(ctx) } else { self }
    }

    /// What a script threw.
    fn thrown(ctx: &Ctx<'_>) -> Self {
        let thrown = ctx.catch();
        let text = |object: &Object<'_>, name: &str| object.get::<_, String>(name).ok();
        let Some(object) = thrown.as_object() else {
            // Anything can be thrown; a text is its own message.
            let message = thrown.as_string().and_then(|text| text.to_string().ok());
            return Self::new(shortened(message.unwrap_or_else(|| "it threw something".to_owned())));
        };
        let name = text(object, "name").unwrap_or_else(|| "Error".to_owned());
        let message = text(object, "message").unwrap_or_default();
        let line = text(object, "stack").and_then(|stack| line_of(&stack));
        // Reading the error may itself have thrown.
        ctx.catch();
        Self { line, message: shortened(format!("{name}: {message}")) }
    }

    pub(super) fn of_script(self, name: &str) -> FunctionError {
        FunctionError::Script { name: name.to_owned(), line: self.line, message: self.message }
    }

    pub(super) fn of_event(self, function: &Function) -> EvalError {
        let name = format!("{}.{}", function.kind.prefix(), function.name);
        EvalError::Script { function: name.into(), line: self.line, message: self.message.into() }
    }
}

/// The first line that a stack names: `at accumulate (name:3:12)`.
fn line_of(stack: &str) -> Option<u32> {
    stack.lines().find_map(|entry| {
        let mut parts = entry.trim_end().trim_end_matches(')').rsplit(':');
        let (_column, line) = (parts.next()?.parse::<u32>().ok()?, parts.next()?.parse().ok()?);
        Some(line)
    })
}

fn shortened(mut message: String) -> String {
    if message.len() > MAX_MESSAGE {
        let end = (0..=MAX_MESSAGE).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
        message.truncate(end);
        message.push('…');
    }
    message
}
