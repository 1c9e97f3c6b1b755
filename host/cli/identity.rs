//! `ambit identity`: the keys that others verify tokens with, and whether a token holds.

use std::io::{Read as _, Write as _};
use std::process::ExitCode;

use super::{Context, Failure, Format, output};
use crate::edge::identities::IdentityError;
use crate::identity::Use;

/// The longest token, in bytes.
const LONGEST: u64 = 64 << 10;
/// How often others may look for new keys, in seconds (SPIFFE Trust Domain and Bundle, section 4.1.2).
const REFRESH: u64 = 300;

#[derive(clap::Subcommand)]
#[command(defer = true)]
pub(super) enum Verb {
    /// Print the public keys as a JWK set (RFC 7517)
    Jwks {
        /// As a SPIFFE bundle, for those that speak SPIFFE
        #[arg(long)]
        spiffe: bool,
    },
    /// Print the `OpenID` Connect discovery document; `issuer` under [identity] in config.toml says where it is served
    Discovery,
    /// Let the next key sign, and publish another to follow it
    Rotate,
    /// Verify the token on standard input, and print what it says
    Verify {
        /// For whom it has to be
        #[arg(long, value_name = "AUDIENCE")]
        audience: String,
    },
}

pub(super) fn identity(context: &Context, verb: Verb) -> Result<ExitCode, Failure> {
    let host = context.host()?;
    let runtime = super::runtime()?;
    match verb {
        Verb::Jwks { spiffe } => {
            let purpose = if spiffe { Use::Spiffe } else { Use::Signatures };
            let keys = runtime.block_on(host.identities.published(purpose)).map_err(failed)?;
            let mut keys = serde_json::to_value(keys).map_err(|error| Failure::Host(miette::miette!("{error}")))?;
            if spiffe {
                keys["spiffe_refresh_hint"] = REFRESH.into();
            }
            output::json(&keys)?;
        }
        Verb::Discovery => {
            let Some(issuer) = &host.identities.setting().issuer else {
                let help = "write `issuer = \"https://ambit.example.net\"` under [identity] into config.toml of the home folder, \
                            with the address at which others will find this document";
                return Err(Failure::Usage(miette::miette!(help = help, "no issuer is configured")));
            };
            let issuer = issuer.as_str();
            // OpenID Connect Discovery 1.0, section 3.
            output::json(&serde_json::json!({
                "issuer": issuer,
                "jwks_uri": format!("{issuer}/jwks.json"),
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"],
            }))?;
        }
        Verb::Rotate => {
            let by = format!("uid {}", crate::config::user_id());
            let kid = runtime.block_on(host.identities.rotate(by)).map_err(failed)?;
            if context.format == Format::Json {
                output::json(&serde_json::json!({ "signs": kid }))?;
            } else {
                writeln!(std::io::stdout(), "{kid} signs from now on; publish `ambit identity jwks` again")?;
            }
        }
        Verb::Verify { audience } => {
            let mut token = String::new();
            std::io::stdin().take(LONGEST).read_to_string(&mut token)?;
            let verified = runtime.block_on(host.identities.verify(token.trim(), &audience)).map_err(failed)?;
            match verified {
                Ok(claims) => output::json(&claims)?,
                Err(disbelief) => {
                    let why = crate::audit::escaped(&disbelief.to_string());
                    writeln!(std::io::stderr(), "the token is not believed: {why}")?;
                    return Ok(ExitCode::FAILURE);
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn failed(error: IdentityError) -> Failure {
    Failure::Host(miette::miette!("{error}"))
}
