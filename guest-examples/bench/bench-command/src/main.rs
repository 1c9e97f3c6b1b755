//! What the trivial agent and the function `work` do, as a command.

#[path = "../../yardstick/src/work.rs"]
mod work;

fn main() {
    println!("{}", work::work("input"));
}
