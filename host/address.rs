//! Which addresses lie on the public internet, and which a rule has to name before anything connects to them.
//!
//! The list is that of the IANA special-purpose address registries (RFC 6890), with what clouds use besides. IPv6 forms
//! that carry an IPv4 address (mapped, compatible, NAT64, 6to4, Teredo) are special as a whole: what they lead to is not
//! for the host to guess.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::de::{Deserialize, Deserializer, Error as _};
use serde::{Serialize, Serializer};

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(head: [u16; 4], length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(head[0], head[1], head[2], head[3], 0, 0, 0, 0), length)
}

/// IPv4 blocks that are not public, and what they are for.
const SPECIAL_V4: &[(Ipv4Net, &str)] = &[
    (v4(0, 0, 0, 0, 8), "this network"),
    (v4(10, 0, 0, 0, 8), "private use"),
    (v4(100, 64, 0, 0, 10), "shared address space of carriers"),
    (v4(127, 0, 0, 0, 8), "loopback"),
    (v4(168, 63, 129, 16, 32), "a cloud's own services"),
    (v4(169, 254, 0, 0, 16), "link-local, with the metadata services of clouds"),
    (v4(172, 16, 0, 0, 12), "private use"),
    (v4(192, 0, 0, 0, 24), "protocol assignments"),
    (v4(192, 0, 2, 0, 24), "documentation"),
    (v4(192, 31, 196, 0, 24), "AS112"),
    (v4(192, 52, 193, 0, 24), "AMT relays"),
    (v4(192, 88, 99, 0, 24), "6to4 relays"),
    (v4(192, 168, 0, 0, 16), "private use"),
    (v4(192, 175, 48, 0, 24), "AS112"),
    (v4(198, 18, 0, 0, 15), "benchmarks"),
    (v4(198, 51, 100, 0, 24), "documentation"),
    (v4(203, 0, 113, 0, 24), "documentation"),
    (v4(224, 0, 0, 0, 4), "multicast"),
    (v4(240, 0, 0, 0, 4), "reserved, with the broadcast address"),
];

/// IPv6 blocks that are not public, and what they are for.
const SPECIAL_V6: &[(Ipv6Net, &str)] = &[
    // `::`, `::1`, IPv4-compatible and IPv4-mapped addresses, and what else is made of zeros.
    (v6([0, 0, 0, 0], 64), "unspecified, loopback, or IPv4 within IPv6"),
    (v6([0x64, 0xff9b, 0, 0], 96), "NAT64"),
    (v6([0x64, 0xff9b, 1, 0], 48), "NAT64 for private use"),
    (v6([0x100, 0, 0, 0], 64), "discard"),
    (v6([0x100, 0, 0, 1], 64), "a dummy prefix"),
    (v6([0x2001, 0, 0, 0], 23), "protocol assignments, with Teredo and ORCHID"),
    (v6([0x2001, 0xdb8, 0, 0], 32), "documentation"),
    (v6([0x2002, 0, 0, 0], 16), "6to4"),
    (v6([0x2620, 0x4f, 0x8000, 0], 48), "AS112"),
    (v6([0x3fff, 0, 0, 0], 20), "documentation"),
    (v6([0x5f00, 0, 0, 0], 16), "segment routing"),
    (v6([0xfc00, 0, 0, 0], 7), "unique local"),
    (v6([0xfe80, 0, 0, 0], 10), "link-local"),
    (v6([0xfec0, 0, 0, 0], 10), "site-local"),
    (v6([0xff00, 0, 0, 0], 8), "multicast"),
];

/// What an address is for, if it is not public.
pub fn special(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => {
            SPECIAL_V4.iter().find(|(block, _)| block.contains(&address)).map(|(_, purpose)| *purpose)
        }
        IpAddr::V6(address) => {
            let named = SPECIAL_V6.iter().find(|(block, _)| block.contains(&address)).map(|(_, purpose)| *purpose);
            // The interface identifier of ISATAP (RFC 5214) carries an IPv4 address below any prefix.
            let [.., a, b, _, _] = address.segments();
            named.or((matches!(a, 0 | 0x200) && b == 0x5efe).then_some("IPv4 within IPv6 (ISATAP)"))
        }
    }
}

/// Where a connection may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// To any public address.
    Public,
    /// Into these blocks, whatever they are for, and nowhere else.
    Blocks(Vec<IpNet>),
}

/// An address that a connection may not go to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreachable {
    /// It is not public, and the rule names no addresses.
    #[error("{address} is not public ({purpose}): `addresses` of the rule would have to name it")]
    Special {
        /// The address.
        address: IpAddr,
        /// What it is for.
        purpose: &'static str,
    },
    /// The rule names other addresses.
    #[error("{address} is not among the `addresses` of the rule")]
    Elsewhere {
        /// The address.
        address: IpAddr,
    },
}

impl Reach {
    /// This machine, and nothing else.
    pub fn here() -> Self {
        let v6 = Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128);
        Self::Blocks(vec![v4(127, 0, 0, 0, 8).into(), v6.into()])
    }

    /// Whether it leads nowhere but to this machine.
    pub fn stays_here(&self) -> bool {
        match self {
            Self::Public => false,
            Self::Blocks(blocks) => blocks.iter().all(|block| match block {
                IpNet::V4(block) => block.prefix_len() >= 8 && block.addr().is_loopback(),
                IpNet::V6(block) => block.prefix_len() == 128 && block.addr().is_loopback(),
            }),
        }
    }

    /// The address to connect to, if it may be connected to.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, address: IpAddr) -> Result<IpAddr, Unreachable> {
        match self {
            Self::Public => match special(address) {
                None => Ok(address),
                Some(purpose) => Err(Unreachable::Special { address, purpose }),
            },
            Self::Blocks(blocks) => {
                // To connect to `::ffff:a.b.c.d` is to connect to `a.b.c.d`.
                let address = address.to_canonical();
                let named = blocks.iter().any(|block| block.contains(&address));
                if named { Ok(address) } else { Err(Unreachable::Elsewhere { address }) }
            }
        }
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Public => f.write_str("public"),
            Self::Blocks(blocks) => {
                let blocks: Vec<String> = blocks.iter().map(ToString::to_string).collect();
                f.write_str(&blocks.join(" "))
            }
        }
    }
}

impl Serialize for Reach {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// `["10.20.0.5/32", "::1"]`: blocks, or single addresses.
impl<'de> Deserialize<'de> for Reach {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Vec::<String>::deserialize(deserializer)?;
        if written.is_empty() {
            return Err(D::Error::custom("no address is listed: leave `addresses` out to mean every public one"));
        }
        let blocks = written.iter().map(|text| block(text).map_err(D::Error::custom));
        Ok(Self::Blocks(blocks.collect::<Result<_, _>>()?))
    }
}

fn block(text: &str) -> Result<IpNet, String> {
    let block = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let block =
        block.map_err(|_| format!("`{}` is no block of addresses, as `10.20.0.5/32` is", text.escape_debug()))?;
    if block.addr() != block.network() {
        return Err(format!("`{text}` has bits beyond its length: write `{}`", block.trunc()));
    }
    Ok(block)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_addresses_are_known_in_every_form() {
        for address in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.255",
            "168.63.129.16",
            "169.254.169.254",
            "172.31.255.255",
            "192.0.0.170",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.19.0.1",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.251",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::ffff:0:7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "2606:4700::5efe:7f00:1",
        ] {
            assert!(special(address.parse().unwrap()).is_some(), "{address} is taken for public");
        }
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "168.63.129.17",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450:4001::200e",
            "2001:4860:4860::8888",
            "2003::1",
        ] {
            assert_eq!(special(address.parse().unwrap()), None, "{address} is not taken for public");
        }
    }

    #[test]
    fn a_rule_that_names_addresses_reaches_those_and_no_others() {
        let listed = Reach::Blocks(vec!["127.0.0.1/32".parse().unwrap(), "10.20.0.0/16".parse().unwrap()]);
        let check = |reach: &Reach, address: &str| reach.check(address.parse().unwrap());
        assert_eq!(check(&listed, "127.0.0.1").unwrap().to_string(), "127.0.0.1");
        assert_eq!(check(&listed, "::ffff:10.20.3.4").unwrap().to_string(), "10.20.3.4");
        for other in ["127.0.0.2", "8.8.8.8", "::1", "::ffff:169.254.169.254"] {
            assert!(matches!(check(&listed, other), Err(Unreachable::Elsewhere { .. })), "{other}");
        }
        assert!(check(&Reach::Public, "8.8.8.8").is_ok());
        assert!(matches!(check(&Reach::Public, "127.0.0.1"), Err(Unreachable::Special { .. })));
    }

    #[test]
    fn blocks_are_read_strictly() {
        for (text, block) in [("10.0.0.0/8", "10.0.0.0/8"), ("::1", "::1/128"), ("127.0.0.1", "127.0.0.1/32")] {
            assert_eq!(super::block(text).unwrap().to_string(), block);
        }
        assert!(block("10.0.0.1/8").unwrap_err().contains("10.0.0.0/8"));
        for odd in ["localhost", "127.1", "10.0.0.0/33", "", "0x7f.0.0.1"] {
            assert!(block(odd).is_err(), "{odd}");
        }
    }
}
