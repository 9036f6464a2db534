//! Sources and proxies over loopback.

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

use super::*;

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn through(proxy: Proxy, to: SocketAddr) -> io::Result<Box<dyn Stream>> {
    let tcp = Tcp::new(Arc::new(TlsClients::load(None).unwrap()));
    let from = Egress { proxy: Some(proxy), address: Some("127.0.0.2".parse().unwrap()), ..Egress::default() };
    tcp.connect(&Address::Tcp(to), &from).await
}

/// A SOCKS5 proxy for one connection: checks what it is told, answers with `code`, then greets as the host would.
async fn socks_proxy(listener: TcpListener, password: Option<(&'static str, &'static str)>, code: u8) -> SocketAddr {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut octets = [0; 64];
    let method = if password.is_some() { 2 } else { 0 };
    stream.read_exact(&mut octets[..2]).await.unwrap();
    let methods = usize::from(octets[1]);
    stream.read_exact(&mut octets[..methods]).await.unwrap();
    assert!(octets[..methods].contains(&method));
    stream.write_all(&[5, method]).await.unwrap();
    if let Some((name, secret)) = password {
        let wanted = [&[1, name.len() as u8], name.as_bytes(), &[secret.len() as u8], secret.as_bytes()].concat();
        stream.read_exact(&mut octets[..wanted.len()]).await.unwrap();
        let good = octets[..wanted.len()] == wanted;
        stream.write_all(&[1, u8::from(!good)]).await.unwrap();
        if !good {
            return SocketAddr::from(([0, 0, 0, 0], 0));
        }
    }
    stream.read_exact(&mut octets[..10]).await.unwrap();
    assert_eq!(octets[..4], [5, 1, 0, 1], "connect, to an IPv4 address");
    let ip: [u8; 4] = octets[4..8].try_into().unwrap();
    let port = u16::from_be_bytes(octets[8..10].try_into().unwrap());
    stream.write_all(&[5, code, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
    if code == 0 {
        stream.write_all(b"220 hi\r\n").await.unwrap();
    }
    SocketAddr::from((ip, port))
}

#[tokio::test]
async fn a_socks_proxy_connects_for_us() {
    let to = SocketAddr::from(([192, 0, 2, 1], 25));
    for password in [None, Some(("me", "s3cret"))] {
        let (listener, address) = listener().await;
        let proxy = tokio::spawn(socks_proxy(listener, password, 0));
        let credential = password.map(|(name, secret)| Credential { name: name.into(), secret: secret.into() });
        let mut stream = through(Proxy::Socks5 { address, credential }, to).await.unwrap();
        let mut greeting = [0; 8];
        stream.read_exact(&mut greeting).await.unwrap();
        assert_eq!(&greeting, b"220 hi\r\n");
        assert_eq!(proxy.await.unwrap(), to);
    }
}

#[tokio::test]
async fn the_faults_of_a_proxy_are_not_the_hosts() {
    let to = SocketAddr::from(([192, 0, 2, 1], 25));
    for (code, ours) in [(1, true), (2, true), (3, false), (4, false), (5, false), (6, false), (7, true)] {
        let (listener, address) = listener().await;
        let proxy = tokio::spawn(socks_proxy(listener, None, code));
        let error = through(Proxy::Socks5 { address, credential: None }, to).await.unwrap_err();
        assert_eq!(SourceFault::is(&error), ours, "{code}: {error}");
        proxy.await.unwrap();
    }
    let (listener, address) = listener().await;
    tokio::spawn(socks_proxy(listener, Some(("me", "right")), 0));
    let credential = Some(Credential { name: "me".into(), secret: "wrong".into() });
    let error = through(Proxy::Socks5 { address, credential }, to).await.unwrap_err();
    assert!(SourceFault::is(&error) && error.to_string().starts_with(&format!("proxy {address}: ")), "{error}");
    let (gone, address) = self::listener().await;
    drop(gone);
    for proxy in [Proxy::Socks5 { address, credential: None }, Proxy::HaProxy { address }] {
        let error = through(proxy, to).await.unwrap_err();
        assert!(SourceFault::is(&error), "{error}");
    }
}

#[tokio::test]
async fn a_haproxy_is_told_from_where_and_where_to() {
    let (listener, address) = listener().await;
    let to = SocketAddr::from(([192, 0, 2, 1], 25));
    let _stream = through(Proxy::HaProxy { address }, to).await.unwrap();
    let (mut heard, _) = listener.accept().await.unwrap();
    let mut octets = [0; 28];
    heard.read_exact(&mut octets).await.unwrap();
    assert_eq!(&octets[..12], b"\r\n\r\n\0\r\nQUIT\n");
    assert_eq!(octets[12..16], [0x21, 0x11, 0, 12]);
    assert_eq!(octets[16..28], [127, 0, 0, 2, 192, 0, 2, 1, 0, 0, 0, 25]);
    let six = header(Some("127.0.0.2".parse().unwrap()), "[2001:db8::1]:25".parse().unwrap()).unwrap();
    assert_eq!((six[13], &six[16..32]), (0x21, &[0; 16][..]), "an address of the other family is none");
}

#[tokio::test]
async fn what_this_host_can_not_do_is_the_sources_fault() {
    let (_listener, to) = listener().await;
    let tcp = Tcp::new(Arc::new(TlsClients::load(None).unwrap()));
    let foreign = Egress { address: Some("192.0.2.77".parse().unwrap()), ..Egress::default() };
    let nowhere = Egress { interface: Some("no-such-if0".into()), ..Egress::default() };
    for from in [foreign, nowhere] {
        let error = tcp.connect(&Address::Tcp(to), &from).await.unwrap_err();
        assert!(SourceFault::is(&error), "{error}");
    }
    let local = Egress { address: Some("127.0.0.1".parse().unwrap()), ..Egress::default() };
    assert!(tcp.connect(&Address::Tcp(to), &local).await.is_ok());
}

#[test]
fn the_address_that_a_host_sees_is_told_where_it_is_known() {
    let host = Address::Tcp("127.0.0.1:25".parse().unwrap());
    let own: IpAddr = "192.0.2.1".parse().unwrap();
    let proxy = "192.0.2.9:1080".parse().unwrap();
    let haproxy = Some(Proxy::HaProxy { address: proxy });
    let socks = Some(Proxy::Socks5 { address: proxy, credential: None });
    let from =
        |address, interface: Option<&str>, proxy| Egress { address, interface: interface.map(Into::into), proxy };
    let table = [
        (from(None, None, None), Some("127.0.0.1".parse().unwrap())),
        (from(Some(own), None, None), Some(own)),
        (from(None, Some("eth1"), None), None),
        (from(Some(own), None, haproxy.clone()), Some(own)),
        (from(None, None, haproxy), None),
        (from(Some(own), None, socks), None),
    ];
    for (from, expected) in table {
        assert_eq!(seen_from(&from, &host), expected, "{from:?}");
    }
    assert_eq!(seen_from(&Egress::default(), &Address::Unix("/run/lmtp".into())), None);
}
