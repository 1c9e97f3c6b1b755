//! For tests: an agent that calls functions of `echo` twice each, with the same arguments: by the tool's own interface,
//! and by name, with JSON.
//!
//! The output lists `{"function", "same"}`: whether the typed call gave back the value that it was given, and the call by
//! name the same JSON.

#[expect(unsafe_code, clippy::pedantic, reason = "generated from WIT")]
mod bindings {
    wit_bindgen::generate!({
        inline: "
            package ambit-examples:agent-typed@0.1.0;
            world typed {
                include ambit:agent/agent@0.1.0;
                import ambit-examples:echo/echo@0.1.0;
            }
        ",
        path: ["../../../wit", "../../tools/echo/wit"],
        world: "ambit-examples:agent-typed/typed",
        generate_all,
        additional_derives: [PartialEq],
    });
    export!(Typed with_types_in self);
    use super::Typed;
}

use bindings::ambit::agent::tools;
use bindings::ambit_examples::echo::echo::{self, Color, Days, Point, Shape, Style};
use bindings::{Failure, Guest};
use serde_json::{Value, json};

struct Typed;

/// What became of one value: `typed` says whether it came back, `written` is how JSON has it.
fn told(function: &str, typed: bool, written: &Value) -> Value {
    let answer = tools::call(&format!("echo.{function}"), &json!({ "value": written }).to_string());
    let answer = answer.ok().and_then(|text| serde_json::from_str::<Value>(&text).ok());
    json!({ "function": function, "same": typed && answer.as_ref() == Some(written) })
}

fn shape() -> Shape {
    Shape {
        name: "s".to_owned(),
        corners: vec![Point { x: -1, y: 0.5 }],
        center: None,
        color: Color::DarkGreen,
        drawn_with: Style::Dashed(3),
    }
}

fn simple() -> Vec<Value> {
    let text = "a\u{0}\u{1f}é".to_owned();
    let lists = vec![Vec::new(), vec!["a".to_owned(), String::new()]];
    vec![
        told("echo-bool", echo::echo_bool(true), &json!(true)),
        told("echo-s8", echo::echo_s8(-128) == -128, &json!(-128)),
        told("echo-s64", echo::echo_s64(i64::MIN) == i64::MIN, &json!("-9223372036854775808")),
        told("echo-u64", echo::echo_u64(u64::MAX) == u64::MAX, &json!("18446744073709551615")),
        told("echo-f32", echo::echo_f32(0.1).to_bits() == 0.1_f32.to_bits(), &json!(0.1)),
        told("echo-f64", echo::echo_f64(f64::NAN).is_nan(), &json!("NaN")),
        told("echo-char", echo::echo_char('𝄞') == '𝄞', &json!("𝄞")),
        told("echo-string", echo::echo_string(&text) == text, &json!(text)),
        told("echo-bytes", echo::echo_bytes(&[0, 255, 16]) == [0, 255, 16], &json!("AP8Q")),
        told("echo-lists", echo::echo_lists(&lists) == lists, &json!([[], ["a", ""]])),
    ]
}

fn compound() -> Vec<Value> {
    let results = vec![Ok(1), Err("no".to_owned())];
    let record = json!({
        "name": "s", "corners": [{ "x": -1, "y": 0.5 }], "center": null, "color": "dark-green", "drawn-with": { "dashed": 3 }
    });
    let days = Days::LAST_DAY | Days::MONDAY;
    let both = Style::Both((1, true));
    vec![
        told("echo-options", echo::echo_options(Some(None)) == Some(None), &json!({ "some": null })),
        told("echo-results", echo::echo_results(&results) == results, &json!([{ "ok": 1 }, { "err": "no" }])),
        told(
            "echo-tuple",
            echo::echo_tuple((1, "two", false)) == (1, "two".to_owned(), false),
            &json!([1, "two", false]),
        ),
        told("echo-record", echo::echo_record(&shape()) == shape(), &record),
        told("echo-variant", echo::echo_variant(&both) == both, &json!({ "both": [1, true] })),
        told("echo-enum", echo::echo_enum(Color::Type) == Color::Type, &json!("type")),
        told("echo-flags", echo::echo_flags(days) == days, &json!(["monday", "last-day"])),
    ]
}

impl Guest for Typed {
    fn run(_: String) -> Result<String, Failure> {
        Ok(Value::from([simple(), compound()].concat()).to_string())
    }
}
