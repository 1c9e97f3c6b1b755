//! A value of each type of WIT, there and back.

#[expect(unsafe_code, clippy::pedantic, reason = "generated from WIT")]
mod bindings {
    wit_bindgen::generate!({ path: "wit", world: "ambit-examples:echo/echo-tool", generate_all });
    export!(Echo with_types_in self);
    use super::Echo;
}

use bindings::exports::ambit_examples::echo::echo::{Color, Days, Guest, Shape, Style};

struct Echo;

impl Guest for Echo {
    fn echo_bool(value: bool) -> bool {
        value
    }

    fn echo_s8(value: i8) -> i8 {
        value
    }

    fn echo_s16(value: i16) -> i16 {
        value
    }

    fn echo_s32(value: i32) -> i32 {
        value
    }

    fn echo_s64(value: i64) -> i64 {
        value
    }

    fn echo_u8(value: u8) -> u8 {
        value
    }

    fn echo_u16(value: u16) -> u16 {
        value
    }

    fn echo_u32(value: u32) -> u32 {
        value
    }

    fn echo_u64(value: u64) -> u64 {
        value
    }

    fn echo_f32(value: f32) -> f32 {
        value
    }

    fn echo_f64(value: f64) -> f64 {
        value
    }

    fn echo_char(value: char) -> char {
        value
    }

    fn echo_string(value: String) -> String {
        value
    }

    fn echo_bytes(value: Vec<u8>) -> Vec<u8> {
        value
    }

    fn echo_numbers(value: Vec<u64>) -> Vec<u64> {
        value
    }

    fn echo_lists(value: Vec<Vec<String>>) -> Vec<Vec<String>> {
        value
    }

    fn echo_option(value: Option<u64>) -> Option<u64> {
        value
    }

    fn echo_options(value: Option<Option<u8>>) -> Option<Option<u8>> {
        value
    }

    fn echo_result(value: Result<u8, String>) -> Result<u8, String> {
        value
    }

    fn echo_result_ok(value: Result<u64, ()>) -> Result<u64, ()> {
        value
    }

    fn echo_result_error(value: Result<(), String>) -> Result<(), String> {
        value
    }

    fn echo_result_empty(value: Result<(), ()>) -> Result<(), ()> {
        value
    }

    fn echo_results(value: Vec<Result<u8, String>>) -> Vec<Result<u8, String>> {
        value
    }

    fn echo_tuple(value: (u8, String, bool)) -> (u8, String, bool) {
        value
    }

    fn echo_record(value: Shape) -> Shape {
        value
    }

    fn echo_variant(value: Style) -> Style {
        value
    }

    fn echo_enum(value: Color) -> Color {
        value
    }

    fn echo_flags(value: Days) -> Days {
        value
    }

    fn echo_pairs(value: Vec<(String, u64)>) -> Vec<(String, u64)> {
        value
    }

    fn echo_many(first: u8, second: String, third: Option<bool>) -> (u8, String, Option<bool>) {
        (first, second, third)
    }

    fn echo_none() -> String {
        "nothing was given".to_owned()
    }

    fn echo_nothing(value: String) {
        drop(value);
    }
}
