//! Typed calls: a function of a tool's own interface, imported by its caller and called like one of a library.
//!
//! The caller's and the tool's types were compared when the caller was linked (`tool::shape`), so values of the one are
//! values of the other. What has no value in them is told where the result type has a place for it ([`Place`]); where it
//! has none, the caller ends.

use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::types::{ComponentFunc, Record, Variant};
use wasmtime::component::{LinkerInstance, Type, Val};

use super::{Call, CallError, LONGEST_ARGUMENTS, Line, WITHHELD};
use crate::capability::TaskState;
use crate::gate::{Code, Denied, Refusal};
use crate::tool::Function;

/// The cases of `refusal-code` in `ambit:agent/types`.
const CODES: [Code; 5] = [Code::NotGranted, Code::Denied, Code::NeedsApproval, Code::Quota, Code::Unavailable];

/// A tool that was called broke down, and so does its caller. In the host's words alone.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the tool `{tool}` that it called broke down: {kind}")]
pub(crate) struct BrokenTool {
    /// The tool's name in the bundle.
    tool: String,
    /// What happened to it.
    kind: String,
    /// What is known of it; the tool may have had a say in that.
    pub(crate) detail: String,
}

/// Where a result type has room for what is no value of the tool's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Nowhere.
    None,
    /// `result<_, refusal>`.
    Refusal,
    /// `result<_, variant { refused(refusal), … }>`; `trapped` says whether it has `trapped(string)` as well.
    Case { trapped: bool },
}

impl Place {
    fn of(result: Option<&Type>) -> Self {
        let Some(Type::Result(result)) = result else { return Self::None };
        match result.err() {
            Some(Type::Record(error)) if is_refusal(&error) => Self::Refusal,
            Some(Type::Variant(error)) if has(&error, "refused", is_a_refusal) => {
                Self::Case { trapped: has(&error, "trapped", |ty| *ty == Type::String) }
            }
            _ => Self::None,
        }
    }

    /// How the caller hears of a refusal, if it can.
    fn refused(self, refusal: Refusal) -> Option<Val> {
        let code = Val::Enum(refusal.code.as_str().to_owned());
        let record = Val::U64(refusal.record);
        let refusal = Val::Record(vec![("code".to_owned(), code), ("record".to_owned(), record)]);
        match self {
            Self::None => None,
            Self::Refusal => Some(failure(refusal)),
            Self::Case { .. } => Some(failure(Val::Variant("refused".to_owned(), Some(Box::new(refusal))))),
        }
    }

    /// How the caller hears that the tool broke down, if it can.
    fn trapped(self, kind: &str) -> Option<Val> {
        let text = || Box::new(Val::String(kind.to_owned()));
        (self == Self::Case { trapped: true }).then(|| failure(Val::Variant("trapped".to_owned(), Some(text()))))
    }
}

fn failure(error: Val) -> Val {
    Val::Result(Err(Some(Box::new(error))))
}

fn has(variant: &Variant, name: &str, holds: impl Fn(&Type) -> bool) -> bool {
    variant.cases().any(|case| case.name == name && case.ty.as_ref().is_some_and(&holds))
}

fn is_a_refusal(ty: &Type) -> bool {
    matches!(ty, Type::Record(record) if is_refusal(record))
}

/// Whether a record is the `refusal` of `ambit:agent/types`, by whatever name.
fn is_refusal(record: &Record) -> bool {
    let mut fields = record.fields();
    let (Some(code), Some(number), None) = (fields.next(), fields.next(), fields.next()) else { return false };
    let Type::Enum(codes) = code.ty else { return false };
    let known = CODES.map(Code::as_str);
    code.name == "code" && codes.names().eq(known) && number.name == "record" && number.ty == Type::U64
}

/// Satisfies an imported function with calls of a tool's.
///
/// # Errors
/// When the function is defined twice, which is a bug.
pub(crate) fn link(
    instance: &mut LinkerInstance<'_, TaskState>,
    tool: &str,
    function: &Arc<Function>,
    imported: &ComponentFunc,
) -> wasmtime::Result<()> {
    let import = Arc::new(Import {
        tool: tool.to_owned(),
        function: Arc::clone(function),
        place: Place::of(imported.results().next().as_ref()),
    });
    instance.func_new_async(function.name(), move |store, _, arguments, results| {
        let import = Arc::clone(&import);
        Box::new(async move {
            let answer = import.call(store, arguments).await?;
            for (result, value) in results.iter_mut().zip(answer) {
                *result = value;
            }
            Ok(())
        })
    })
}

/// An imported function that a tool answers.
struct Import {
    tool: String,
    function: Arc<Function>,
    place: Place,
}

impl Import {
    /// The error ends the caller.
    async fn call(
        &self,
        mut store: StoreContextMut<'_, TaskState>,
        arguments: &[Val],
    ) -> wasmtime::Result<Option<Val>> {
        let line = Line::open(&mut store)?;
        let canonical = self.function.canonical(arguments)?;
        let bytes = canonical.len();
        let mut call = Call::of(&self.tool, &self.function, arguments.to_vec(), canonical, line.depth());
        let answer = if bytes > LONGEST_ARGUMENTS {
            // The record does not need what was too long.
            (call.arguments, call.values) = (String::new(), Vec::new());
            let why = format!("the arguments have {bytes} bytes as JSON, more than {LONGEST_ARGUMENTS}");
            Err(CallError::Denied(line.guard().refuse(Code::Quota, &call, &why).await))
        } else {
            line.dispatch(store, call).await
        };
        match answer {
            Ok(answer) => Ok(answer),
            Err(CallError::Denied(Denied::Refused(refusal))) => match self.place.refused(refusal) {
                Some(value) => Ok(Some(value)),
                None => Err(wasmtime::Error::new(Denied::Refused(refusal))),
            },
            Err(CallError::Denied(denied)) => Err(wasmtime::Error::new(denied)),
            Err(CallError::Withheld) => self.broken(WITHHELD.to_owned(), String::new()),
            Err(CallError::Trapped { kind, detail }) => self.broken(kind, detail),
        }
    }

    /// A tool that gave no answer: in the words of the interface, or as a trap where it has none.
    fn broken(&self, kind: String, detail: String) -> wasmtime::Result<Option<Val>> {
        match self.place.trapped(&kind) {
            Some(value) => Ok(Some(value)),
            None => Err(wasmtime::Error::new(BrokenTool { tool: self.tool.clone(), kind, detail })),
        }
    }
}
