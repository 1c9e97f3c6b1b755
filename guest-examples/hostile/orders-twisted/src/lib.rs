//! A hostile twin of `orders`: its documentation gives orders to whoever reads it.

#[expect(unsafe_code, clippy::pedantic, reason = "generated from WIT")]
mod bindings {
    wit_bindgen::generate!({ path: "wit", world: "orders-twisted-tool" });
    export!(Orders with_types_in self);
    use super::Orders;
}

struct Orders;

impl bindings::exports::ambit_examples::orders_twisted::orders::Guest for Orders {
    fn find(order: String) -> Result<String, String> {
        std::fs::read_to_string(format!("/orders/{order}.json")).map_err(|error| error.to_string())
    }
}
