//! Works through a runbook.

use serde_json::{Value, json};

use crate::runbook::{self, Step};
use crate::tools::{CallError, Tools, call, outcome};

/// Why there is no result.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// A word.
    pub code: &'static str,
    /// A sentence.
    pub message: String,
}

/// Where runbooks come from, and where the report is.
pub trait Folder {
    /// The text of a runbook.
    ///
    /// # Errors
    ///
    /// Why it cannot be read.
    fn runbook(&self, name: &str) -> Result<String, String>;
    /// The report that the logbook has written, if there is one.
    fn report(&self) -> Option<String>;
}

/// Works through the runbook that the input names: `{"runbook": "restart-web"}`.
///
/// # Errors
///
/// `bad-input` when it names none, `no-runbook` when there is none of that name, `bad-runbook` when it cannot be understood.
pub fn work(input: &str, folder: &impl Folder, tools: &impl Tools) -> Result<Value, Failure> {
    let bad = |message: &str| Failure { code: "bad-input", message: message.to_owned() };
    let input: Value = serde_json::from_str(input).map_err(|_| bad("the input is no JSON"))?;
    let name =
        input.get("runbook").and_then(Value::as_str).ok_or_else(|| bad("the input must have a text `runbook`"))?;
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !(1..=64).contains(&name.len()) || !name.bytes().all(fits) {
        return Err(bad("a runbook's name has 1 to 64 small letters, digits and `-`"));
    }
    let text = folder.runbook(name).map_err(|message| Failure { code: "no-runbook", message })?;
    let steps = runbook::read(&text).map_err(|message| Failure { code: "bad-runbook", message })?;
    let (mut done, mut finished) = (Vec::new(), true);
    for step in &steps {
        let (shown, answer) = take(step, name, tools);
        let is_stopped = matches!((step, &answer), (Step::Restart(_), Err(_)));
        let mut told = outcome(&answer);
        told["step"] = shown.into();
        done.push(told);
        if is_stopped {
            finished = false;
            break;
        }
    }
    Ok(json!({ "runbook": name, "finished": finished, "steps": done, "report": folder.report() }))
}

/// Takes one step, and enters what came of it.
fn take(step: &Step, runbook: &str, tools: &impl Tools) -> (String, Result<Value, CallError>) {
    let enter = |text: &str| call(tools, "logbook.enter", &json!({ "runbook": runbook, "text": text }));
    let (shown, function, service) = match step {
        Step::Note(text) => return (format!("note {text}"), enter(text)),
        Step::Check(service) => (format!("check {service}"), "services.status", service),
        Step::Restart(service) => (format!("restart {service}"), "services.restart", service),
    };
    let answer = call(tools, function, &json!({ "service": service }));
    let came = match &answer {
        Ok(state) if state["healthy"] == true => "it is healthy".to_owned(),
        Ok(_) => "it is not healthy".to_owned(),
        Err(CallError::Refused(code, _)) => format!("refused: {code}"),
        Err(CallError::Failed(_) | CallError::Broken(_)) => "it could not be done".to_owned(),
    };
    match enter(&format!("{shown}: {came}")) {
        Ok(_) => (shown, answer),
        // What cannot be written down is not gone on with.
        Err(error) => (shown, answer.and(Err(error))),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    struct House(RefCell<Vec<String>>, Result<(), CallError>);

    impl Tools for House {
        fn call(&self, name: &str, arguments: &str) -> Result<String, CallError> {
            self.0.borrow_mut().push(format!("{name} {arguments}"));
            if name == "services.restart" {
                self.1.clone()?;
            }
            Ok(r#"{"name": "web", "healthy": true, "restarts": 1}"#.to_owned())
        }
    }

    impl Folder for House {
        fn runbook(&self, name: &str) -> Result<String, String> {
            match name {
                "restart-web" => Ok("- restart web\n- check web\n".to_owned()),
                _ => Err("there is none".to_owned()),
            }
        }

        fn report(&self) -> Option<String> {
            None
        }
    }

    fn run(input: &str, restart: Result<(), CallError>) -> (Result<Value, Failure>, usize) {
        let house = House(RefCell::default(), restart);
        let answer = work(input, &house, &house);
        let calls = house.0.borrow().len();
        (answer, calls)
    }

    #[test]
    fn every_step_is_taken_and_entered() {
        let (answer, calls) = run(r#"{"runbook": "restart-web"}"#, Ok(()));
        let answer = answer.unwrap();
        assert_eq!((calls, &answer["finished"]), (4, &json!(true)), "{answer}");
        assert_eq!(answer["steps"][1]["step"], "check web");
    }

    #[test]
    fn what_may_not_be_restarted_is_the_end() {
        let (answer, calls) = run(r#"{"runbook": "restart-web"}"#, Err(CallError::Refused("needs-approval", 7)));
        let answer = answer.unwrap();
        assert_eq!((calls, &answer["finished"]), (2, &json!(false)), "{answer}");
        assert_eq!(answer["steps"][0]["code"], "needs-approval");
    }

    #[test]
    fn what_names_no_runbook_is_said_to() {
        for (input, code) in [
            ("", "bad-input"),
            ("{}", "bad-input"),
            (r#"{"runbook": "../x"}"#, "bad-input"),
            (r#"{"runbook": "x"}"#, "no-runbook"),
        ] {
            assert_eq!(run(input, Ok(())).0.unwrap_err().code, code, "{input}");
        }
    }
}
