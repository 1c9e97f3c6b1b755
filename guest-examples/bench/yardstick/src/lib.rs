//! What `ambit bench isolation` measures with, unless it is given another component.

mod kernels;
mod work;

#[expect(unsafe_code, clippy::pedantic, reason = "generated from WIT")]
mod bindings {
    wit_bindgen::generate!({
        path: ["../../../wit", "wit"],
        world: "ambit-bench:yardstick/yardstick-tool",
        generate_all,
    });
    export!(Yardstick with_types_in self);
    use super::Yardstick;
}

use bindings::exports::ambit_bench::yardstick::yardstick::Guest;
use bindings::wasi::clocks::monotonic_clock;

struct Yardstick;

impl Guest for Yardstick {
    fn work(input: String) -> String {
        work::work(&input)
    }

    fn hash(kibibytes: u32) -> String {
        kernels::hash(kibibytes)
    }

    fn parse(rounds: u32) -> u64 {
        kernels::parse(rounds)
    }

    fn primes(below: u32) -> u32 {
        kernels::primes(below)
    }

    fn ask(times: u32) -> u64 {
        (0..times).fold(0, |_, _| monotonic_clock::now())
    }
}
