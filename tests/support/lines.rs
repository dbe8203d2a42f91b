//! Meters on every kind of line. What answers is tokio-modbus, which shares no code with the gateway's own frames; where
//! it has no server of a kind (UDP, ASCII), a few lines here change the envelope.

use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_modbus::prelude::{ExceptionCode, Request, Response, SlaveRequest};
use tokio_modbus::server::{Service, rtu_over_tcp, tcp};
use tokio_rustls::TlsAcceptor;

use crate::papers::Authority;

/// The numbers of the certificates of [`papers`].
pub const DEVICE: u64 = 11;
const GATEWAY: u64 = 12;

/// A meter whose every value is this one, as binary32 in two input registers; every unit of its line answers.
#[derive(Clone, Copy)]
pub struct Meter(pub f32);

impl Service for Meter {
    type Request = SlaveRequest<'static>;
    type Response = Response;
    type Exception = ExceptionCode;
    type Future = Ready<Result<Response, ExceptionCode>>;

    fn call(&self, asked: Self::Request) -> Self::Future {
        let bits = self.0.to_bits();
        let word = |address: u16| if address.is_multiple_of(2) { (bits >> 16) as u16 } else { bits as u16 };
        ready(match asked.request {
            Request::ReadInputRegisters(address, count) => {
                Ok(Response::ReadInputRegisters((0..count).map(|i| word(address.wrapping_add(i))).collect()))
            }
            _ => Err(ExceptionCode::IllegalFunction),
        })
    }
}

async fn listener() -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// A meter behind Modbus TCP.
pub async fn modbus_tcp(meter: Meter) -> anyhow::Result<SocketAddr> {
    let (listener, address) = listener().await?;
    let server = tcp::Server::new(listener);
    tokio::spawn(async move {
        let accept = |stream, peer| async move { tcp::accept_tcp_connection(stream, peer, |_| Ok(Some(meter))) };
        server.serve(&accept, |_| ()).await
    });
    Ok(address)
}

/// A meter behind Modbus over TLS, with the papers of [`papers`]; it believes only its own authority.
pub async fn modbus_tls(meter: Meter, papers: &Path) -> anyhow::Result<SocketAddr> {
    let provider = Arc::new(ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(papers.join("ca.pem"))?)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider)).build()?;
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![CertificateDer::from_pem_file(papers.join("device.pem"))?],
            PrivateKeyDer::from_pem_file(papers.join("device.key"))?,
        )?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (listener, address) = listener().await?;
    let server = tcp::Server::new(listener);
    tokio::spawn(async move {
        let accept = |stream, _| {
            let acceptor = acceptor.clone();
            async move { Ok(acceptor.accept(stream).await.ok().map(|io| (meter, io))) }
        };
        server.serve(&accept, |_| ()).await
    });
    Ok(address)
}

/// Makes `ca.pem`, and for `device` (`device.example`) and `gateway` a certificate of it and its key.
pub fn papers(directory: &Path) -> anyhow::Result<Authority> {
    let authority = Authority::new(directory)?;
    authority.sign("device", "device.example", DEVICE)?;
    authority.sign("gateway", "gateway.example", GATEWAY)?;
    Ok(authority)
}

/// A cable to a server that can be pulled.
pub struct Cable {
    /// Where the gateway connects to.
    pub address: SocketAddr,
    pulled: watch::Sender<()>,
}

impl Cable {
    /// A cable to this server.
    pub async fn to(server: SocketAddr) -> anyhow::Result<Self> {
        let (listener, address) = listener().await?;
        let (pulled, ends) = watch::channel(());
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut end = ends.clone();
                end.mark_unchanged();
                tokio::spawn(async move {
                    let Ok(mut far) = TcpStream::connect(server).await else { return };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = end.changed() => {}
                    }
                });
            }
        });
        Ok(Self { address, pulled })
    }

    /// Ends every connection; new ones are carried.
    pub fn pull(&self) {
        self.pulled.send_replace(());
    }
}

/// The frame with which a Modbus TCP server answers this one.
async fn ask(server: SocketAddr, frame: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut socket = TcpStream::connect(server).await?;
    socket.write_all(frame).await?;
    let mut answer = vec![0; 6];
    socket.read_exact(&mut answer).await?;
    let mut rest = vec![0; usize::from(u16::from_be_bytes([answer[4], answer[5]]))];
    socket.read_exact(&mut rest).await?;
    answer.extend(rest);
    Ok(answer)
}

/// A meter behind UDP.
pub async fn modbus_udp(meter: Meter) -> anyhow::Result<SocketAddr> {
    let inside = modbus_tcp(meter).await?;
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    let address = socket.local_addr()?;
    tokio::spawn(speak_udp(socket, inside));
    Ok(address)
}

async fn speak_udp(socket: UdpSocket, inside: SocketAddr) -> anyhow::Result<()> {
    let mut datagram = [0; 300];
    loop {
        let (read, from) = socket.recv_from(&mut datagram).await?;
        socket.send_to(&ask(inside, &datagram[..read]).await?, from).await?;
    }
}

/// A meter that speaks Modbus ASCII behind a serial server.
pub async fn modbus_ascii(meter: Meter) -> anyhow::Result<SocketAddr> {
    let inside = modbus_tcp(meter).await?;
    let (listener, address) = listener().await?;
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(speak_ascii(socket, inside));
        }
    });
    Ok(address)
}

async fn speak_ascii(mut socket: TcpStream, inside: SocketAddr) -> anyhow::Result<()> {
    let (mut heard, mut piece) = (String::new(), [0; 64]);
    loop {
        let read = socket.read(&mut piece).await?;
        anyhow::ensure!(read > 0, "the gateway hung up");
        heard.push_str(std::str::from_utf8(&piece[..read])?);
        let Some(text) = heard.strip_prefix(':').and_then(|text| text.strip_suffix("\r\n")) else { continue };
        let bytes = (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16));
        let mut bytes = bytes.collect::<Result<Vec<u8>, _>>()?;
        heard.clear();
        anyhow::ensure!(bytes.iter().fold(0u8, |sum, b| sum.wrapping_add(*b)) == 0, "a wrong LRC");
        bytes.pop();
        let mut frame = vec![0, 7, 0, 0, 0, u8::try_from(bytes.len())?];
        frame.extend(bytes);
        let answer = ask(inside, &frame).await?.split_off(6);
        let lrc = answer.iter().fold(0u8, |sum, b| sum.wrapping_sub(*b));
        let text: String = answer.iter().chain([&lrc]).map(|b| format!("{b:02X}")).collect();
        socket.write_all(format!(":{text}\r\n").as_bytes()).await?;
    }
}

/// A modem with a meter on its bus, as it dials in.
pub struct Dtu {
    connection: JoinHandle<()>,
}

impl Dtu {
    /// Calls until somebody listens, says `registration`, and carries bytes until the gateway hangs up. It sends
    /// `heartbeat` now and then.
    pub async fn call(
        entrance: SocketAddr,
        registration: &str,
        heartbeat: &'static [u8],
        meter: Meter,
    ) -> anyhow::Result<Self> {
        let (bus, address) = listener().await?;
        let server = rtu_over_tcp::Server::new(bus);
        tokio::spawn(async move {
            let accept =
                |stream, peer| async move { rtu_over_tcp::accept_tcp_connection(stream, peer, |_| Ok(Some(meter))) };
            server.serve(&accept, |_| ()).await
        });
        let mut socket = reach(entrance).await?;
        socket.write_all(registration.as_bytes()).await?;
        let mut bus = TcpStream::connect(address).await?;
        let connection = tokio::spawn(async move {
            let (mut from_bus, mut from_gateway) = ([0; 300], [0; 300]);
            let mut beat = tokio::time::interval(Duration::from_millis(70));
            loop {
                let carried = tokio::select! {
                    read = bus.read(&mut from_bus) => match read {
                        Ok(read @ 1..) => socket.write_all(&from_bus[..read]).await,
                        _ => return,
                    },
                    read = socket.read(&mut from_gateway) => match read {
                        Ok(read @ 1..) => bus.write_all(&from_gateway[..read]).await,
                        _ => return,
                    },
                    _ = beat.tick() => socket.write_all(heartbeat).await,
                };
                if carried.is_err() {
                    return;
                }
            }
        });
        Ok(Self { connection })
    }

    /// Whether the gateway has hung up.
    pub fn is_closed(&self) -> bool {
        self.connection.is_finished()
    }
}

impl Drop for Dtu {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

async fn reach(entrance: SocketAddr) -> anyhow::Result<TcpStream> {
    for _ in 0..200 {
        if let Ok(socket) = TcpStream::connect(entrance).await {
            return Ok(socket);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    TcpStream::connect(entrance).await.context("nobody takes DTUs")
}
