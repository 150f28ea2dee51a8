//! Connections: `socket` and `ssl` over what the embedder offers, against servers on this machine.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use eryx::NetConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{PLAIN, SANDBOX, printed, traceback};

static CERTIFICATE: LazyLock<(Vec<u8>, Vec<u8>)> = LazyLock::new(|| {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    (made.cert.der().to_vec(), made.signing_key.serialize_der())
});

/// What the sandbox may reach: everything, by TLS with the tests' certificate.
pub fn config() -> NetConfig {
    NetConfig::permissive().with_root_cert(CERTIFICATE.0.clone()).with_io_timeout(Duration::from_secs(20))
}

/// Answers one HTTP request with the request itself.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut request = vec![0; 64 << 10];
    let mut size = 0;
    loop {
        let Ok(count @ 1..) = stream.read(&mut request[size..]).await else { return };
        size += count;
        let text = String::from_utf8_lossy(&request[..size]);
        let Some(head) = text.find("\r\n\r\n") else { continue };
        let length =
            text.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if size >= head + 4 + length.unwrap_or(0) {
            break;
        }
    }
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n");
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(&request[..size]).await;
    let _ = stream.shutdown().await;
}

/// Starts a server, and gives its port.
async fn serve(tls: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (certificate, key) = CERTIFICATE.clone();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(certificate)], PrivateKeyDer::try_from(key).unwrap())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if !tls {
                    answer(stream).await;
                } else if let Ok(stream) = acceptor.accept(stream).await {
                    answer(stream).await;
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn http_over_tcp() {
    let port = serve(false).await;
    let code = format!(
        "import socket, urllib.request\n\
         with socket.create_connection(('localhost', {port}), timeout=10) as s:\n\
         \x20   print(s.getpeername() == ('localhost', {port}), s.gettimeout())\n\
         \x20   s.sendall(b'GET /raw HTTP/1.0\\r\\n\\r\\n')\n\
         \x20   print(s.makefile('rb').read().splitlines()[-2:])\n\
         body = b'x' * 30_000\n\
         with urllib.request.urlopen('http://127.0.0.1:{port}/post', data=body, timeout=10) as response:\n\
         \x20   print(response.status, response.read().endswith(b'\\r\\n\\r\\n' + body))"
    );
    let expected = "True 10.0\n[b'GET /raw HTTP/1.0', b'']\n200 True\n";
    assert_eq!(printed(SANDBOX.execute(&code).await), expected);
}

#[tokio::test]
async fn https_with_a_root_of_the_embedder() {
    let port = serve(true).await;
    let code = format!(
        "import http.client, ssl, urllib.request\n\
         with urllib.request.urlopen('https://localhost:{port}/get', timeout=10) as response:\n\
         \x20   print(response.status, response.read().splitlines()[0])\n\
         c = http.client.HTTPSConnection('localhost', {port}, context=ssl.create_default_context())\n\
         c.request('POST', '/post', body=b'y' * 20_000)\n\
         print(len(c.getresponse().read()) > 20_000)"
    );
    assert_eq!(printed(SANDBOX.execute(&code).await), "200 b'GET /get HTTP/1.1'\nTrue\n");
    // The certificate is for another name: the embedder refuses it, whatever the context says.
    let code = format!(
        "import socket, ssl\n\
         context = ssl.create_default_context()\ncontext.check_hostname = False\ncontext.verify_mode = ssl.CERT_NONE\n\
         try:\n    context.wrap_socket(socket.create_connection(('127.0.0.1', {port})), server_hostname='127.0.0.1')\n\
         except ssl.SSLCertVerificationError as error:\n    print(error.reason)"
    );
    assert_eq!(printed(SANDBOX.execute(&code).await), "CERTIFICATE_VERIFY_FAILED\n");
}

#[tokio::test]
async fn what_fails_raises_what_python_raises() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let refused = {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        free.local_addr().unwrap().port()
    };
    let code = format!(
        "import errno, socket, ssl\n\
         def tell(function, *arguments, **more):\n\
         \x20   try:\n        print(function(*arguments, **more))\n\
         \x20   except OSError as error:\n        print(type(error).__name__, error.errno and errno.errorcode.get(error.errno))\n\
         tell(socket.create_connection, ('127.0.0.1', {refused}))\n\
         s = socket.create_connection(('127.0.0.1', {port}))\n\
         s.settimeout(0.1)\ntell(s.recv, 1)\n\
         s.setblocking(False)\ntell(s.recv, 1)\n\
         s.setblocking(True)\ntell(s.shutdown, socket.SHUT_WR)\n\
         s.settimeout(0.1)\ntell(ssl.create_default_context().wrap_socket, s, server_hostname='127.0.0.1')\n\
         tell(socket.socket().recv, 1)\n\
         tell(socket.socket().listen)\n\
         tell(socket.socket, socket.AF_INET, socket.SOCK_DGRAM)\n\
         tell(socket.gethostbyname, 'localhost')"
    );
    let expected = "ConnectionRefusedError ECONNREFUSED\nTimeoutError None\nBlockingIOError EAGAIN\n\
                    OSError ENOTSUP\nTimeoutError None\nOSError ENOTCONN\nOSError ENOTSUP\n\
                    OSError EPROTONOSUPPORT\ngaierror None\n";
    assert_eq!(printed(SANDBOX.execute(&code).await), expected);
}

#[tokio::test]
async fn the_policy_is_the_embedder_s() {
    let port = serve(false).await;
    for host in ["localhost", "127.0.0.1", "example.com"] {
        let code = format!("import socket\nsocket.create_connection(('{host}', {port}))");
        let text = traceback(PLAIN.execute(&code).await);
        assert!(text.contains("PermissionError: [Errno 2] not permitted: "), "{text}");
    }
}
