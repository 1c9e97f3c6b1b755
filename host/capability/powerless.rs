//! What every store has, and what carries no authority: streams and polling, exit, closed stdin, no terminal, and sockets
//! that answer `access-denied`.
//!
//! Language runtimes import these whether they use them or not (Python's imports all of `wasi:sockets`). Sockets are
//! refused where they would be made, so no system call is reached and nothing is looked up.

mod io;

use wasmtime::component::{HasData, Linker, Resource};
use wasmtime_wasi::cli::WasiCliView as _;
use wasmtime_wasi::p2::bindings::{cli, sockets};
use wasmtime_wasi::p2::{SocketError, SocketResult, TcpSocket, UdpSocket};
use wasmtime_wasi::sockets::WasiSocketsView as _;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::TaskState;

/// The interfaces that are linked for every component, without versions.
pub const INTERFACES: &[&str] = &[
    "ambit:agent/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:cli/exit",
    "wasi:cli/stdin",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:cli/terminal-stderr",
    "wasi:sockets/network",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
];

/// An empty WASI context: nothing was put into it, so there is nothing to reach. Most stores never ask for it, and it is large.
#[derive(Default)]
pub(crate) struct Context(Option<Box<WasiCtx>>);

impl WasiView for TaskState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let ctx = self.powerless.0.get_or_insert_with(|| Box::new(WasiCtx::builder().build()));
        WasiCtxView { ctx, table: &mut self.table }
    }
}

/// Makes no sockets and looks up no names.
struct Denied;

impl HasData for Denied {
    type Data<'a> = Denied;
}

impl sockets::network::HostNetwork for Denied {
    /// None is made here, so none is dropped.
    fn drop(&mut self, _: Resource<sockets::network::Network>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl sockets::network::Host for Denied {
    fn convert_error_code(&mut self, error: SocketError) -> wasmtime::Result<sockets::network::ErrorCode> {
        error.downcast()
    }

    fn network_error_code(
        &mut self,
        _: Resource<wasmtime::Error>,
    ) -> wasmtime::Result<Option<sockets::network::ErrorCode>> {
        Ok(None)
    }
}

impl sockets::tcp_create_socket::Host for Denied {
    fn create_tcp_socket(&mut self, _: sockets::network::IpAddressFamily) -> SocketResult<Resource<TcpSocket>> {
        Err(sockets::network::ErrorCode::AccessDenied.into())
    }
}

impl sockets::udp_create_socket::Host for Denied {
    async fn create_udp_socket(&mut self, _: sockets::network::IpAddressFamily) -> SocketResult<Resource<UdpSocket>> {
        Err(sockets::network::ErrorCode::AccessDenied.into())
    }
}

/// Adds [`INTERFACES`], and no others.
pub(crate) fn link(linker: &mut Linker<TaskState>) -> wasmtime::Result<()> {
    use wasmtime_wasi::cli::WasiCli;
    use wasmtime_wasi::sockets::WasiSockets;

    // Types alone: there is nothing in it to call.
    linker.instance("ambit:agent/types@0.1.0")?;
    io::link(linker)?;
    cli::exit::add_to_linker::<_, WasiCli>(linker, |state| state.cross().cli())?;
    cli::stdin::add_to_linker::<_, WasiCli>(linker, |state| state.cross().cli())?;
    cli::terminal_input::add_to_linker::<_, WasiCli>(linker, |state| state.cross().cli())?;
    cli::terminal_output::add_to_linker::<_, WasiCli>(linker, |state| state.cross().cli())?;
    cli::terminal_stdin::add_to_linker::<_, WasiCli>(linker, |state| state.cross().cli())?;
    cli::terminal_stdout::add_to_linker::<_, WasiCli>(linker, |state| state.cross().cli())?;
    cli::terminal_stderr::add_to_linker::<_, WasiCli>(linker, |state| state.cross().cli())?;
    let network = sockets::network::LinkOptions::default();
    sockets::network::add_to_linker::<_, WasiSockets>(linker, &network, |state| state.cross().sockets())?;
    sockets::instance_network::add_to_linker::<_, WasiSockets>(linker, |state| state.cross().sockets())?;
    sockets::ip_name_lookup::add_to_linker::<_, WasiSockets>(linker, |state| state.cross().sockets())?;
    sockets::tcp::add_to_linker::<_, WasiSockets>(linker, |state| state.cross().sockets())?;
    sockets::udp::add_to_linker::<_, WasiSockets>(linker, |state| state.cross().sockets())?;
    sockets::tcp_create_socket::add_to_linker::<_, Denied>(linker, |state| {
        state.cross();
        Denied
    })?;
    sockets::udp_create_socket::add_to_linker::<_, Denied>(linker, |state| {
        state.cross();
        Denied
    })
}
