//! Listening sockets: one per address and worker, the kernel sharing connections out between them.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    os::{
        fd::{AsRawFd, RawFd},
        unix::{
            fs::{FileTypeExt, MetadataExt, PermissionsExt},
            net::{UnixListener, UnixStream},
        },
    },
    path::Path,
    sync::Arc,
};

use socket2::{Domain, Protocol, Socket as AnySocket, Type};

use super::{address::Address, transport::Socket};

const BACKLOG: i32 = 4096;
/// Of a Unix socket's file: its owner and group may connect.
const SOCKET_MODE: u32 = 0o660;

/// One worker's socket of a listener. Unix sockets and those that the process was started with are the same for all
/// workers: whoever is awake first takes the connection.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A listener's sockets and what ends with it.
pub(super) struct Bound {
    pub(super) listeners: Vec<Listener>,
    pub(super) address: Address,
    pub(super) file: Option<SocketFile>,
}

/// The file of a Unix socket. Removed with its value, if it is still ours.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: Arc<Path>,
    device: u64,
    inode: u64,
}

/// One socket for all workers.
///
/// # Errors
/// The system gives no descriptors.
pub(super) fn share(address: Address, first: Listener, workers: usize) -> io::Result<Bound> {
    let mut listeners = Vec::with_capacity(workers);
    for _ in 1..workers {
        listeners.push(first.try_clone()?);
    }
    listeners.push(first);
    Ok(Bound { listeners, address, file: None })
}

/// Opens a socket for each worker.
///
/// # Errors
/// "Address in use" too where it is another process's that would share it.
pub(super) fn bind(address: &Address, workers: usize) -> io::Result<Bound> {
    match address {
        Address::Tcp(address) => bind_tcp(*address, workers),
        Address::Unix(path) => bind_unix(path, workers),
    }
}

fn bind_tcp(address: SocketAddr, workers: usize) -> io::Result<Bound> {
    if address.port() != 0 {
        // Sockets of two processes of one user could both share the port: one that doesn't share tells.
        open(address, false)?;
    }
    let first = open(address, true)?;
    let address = first.local_addr()?;
    let mut listeners = vec![Listener::Tcp(first)];
    for _ in 1..workers {
        listeners.push(Listener::Tcp(open(address, true)?));
    }
    Ok(Bound { listeners, address: Address::Tcp(address), file: None })
}

fn open(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = AnySocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of a process that has just ended don't stand in the way.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    if shared {
        socket.listen(BACKLOG)?;
    }
    Ok(socket.into())
}

fn bind_unix(path: &Arc<Path>, workers: usize) -> io::Result<Bound> {
    remove_stale(path)?;
    let first = UnixListener::bind(path)?;
    let there = fs::symlink_metadata(path)?;
    let file = SocketFile { path: path.clone(), device: there.dev(), inode: there.ino() };
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
    first.set_nonblocking(true)?;
    let shared = share(Address::Unix(path.clone()), Listener::Unix(first), workers)?;
    Ok(Bound { file: Some(file), ..shared })
}

/// Removes what a process that was killed has left behind: a socket that nobody listens at.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(there) if there.file_type().is_socket() => match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        },
        Ok(_) => Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

impl Listener {
    fn try_clone(&self) -> io::Result<Listener> {
        match self {
            Listener::Tcp(listener) => listener.try_clone().map(Listener::Tcp),
            Listener::Unix(listener) => listener.try_clone().map(Listener::Unix),
        }
    }

    /// The next connection and who it is from. Whoever comes by a Unix socket is on this machine: 127.0.0.1.
    pub(super) fn accept(&self) -> io::Result<(Socket, IpAddr)> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                let _ = stream.set_nodelay(true);
                stream.set_nonblocking(true)?;
                Ok((Socket::Tcp(tokio::net::TcpStream::from_std(stream)?), peer.ip().to_canonical()))
            }
            Listener::Unix(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok((Socket::Unix(tokio::net::UnixStream::from_std(stream)?), Ipv4Addr::LOCALHOST.into()))
            }
        }
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Listener::Tcp(listener) => listener.as_raw_fd(),
            Listener::Unix(listener) => listener.as_raw_fd(),
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = |there: fs::Metadata| {
            there.file_type().is_socket() && (there.dev(), there.ino()) == (self.device, self.inode)
        };
        if fs::symlink_metadata(&self.path).is_ok_and(ours) {
            let _ = fs::remove_file(&self.path);
        }
    }
}
