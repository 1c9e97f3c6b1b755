//! The component: the exported function, over the network as far as it was granted.

#[expect(unsafe_code, clippy::pedantic, reason = "generated from WIT")]
mod bindings {
    wit_bindgen::generate!({
        path: ["../../../wit", "wit"],
        world: "ambit-examples:browse/browse-tool",
        generate_all,
    });
    export!(Browse with_types_in self);
    use super::Browse;
}

use bindings::exports::ambit_examples::browse::browse as wit;
use web::Granted;

use crate::fetch::{self, Error};

struct Browse;

impl wit::Guest for Browse {
    fn read(url: String) -> Result<wit::Page, wit::Error> {
        let page = fetch::read(&Granted, &url)?;
        Ok(wit::Page { url: page.url, status: page.status, title: page.title, text: page.text, links: page.links })
    }
}

impl From<Error> for wit::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::BadUrl(why) => wit::Error::BadUrl(why),
            Error::Refused(url) => wit::Error::Refused(url),
            Error::Unreachable(why) => wit::Error::Unreachable(why),
            Error::TooLarge => wit::Error::TooLarge,
            Error::NotText(what) => wit::Error::NotText(what),
            Error::Status(status) => wit::Error::Status(status),
            Error::TooManyRedirects => wit::Error::TooManyRedirects,
        }
    }
}
