"""TLS by the embedder: takes the place of CPython's `_ssl`, below the library's own `ssl`.

The embedder makes the handshake, verifies the server's certificate against the roots it trusts and the name it has
connected to, and encrypts. A context's settings are kept and shown, but decide nothing: in particular, `CERT_NONE`
does not make the embedder accept what it would refuse, and a list of roots does not make it trust more. What would
be a promise that nobody keeps (a client's certificate, a server's side, TLS over memory) is refused.
"""

import os

import _socket

HAS_SNI = HAS_ECDH = HAS_ALPN = HAS_TLSv1_2 = HAS_TLSv1_3 = True
HAS_NPN = HAS_SSLv2 = HAS_SSLv3 = HAS_TLSv1 = HAS_TLSv1_1 = HAS_PSK = HAS_PHA = False

# `ssl` and others look at them to learn what a library can do; there is none.
OPENSSL_VERSION = "TLS by the embedder (as OpenSSL 3.0.0)"
OPENSSL_VERSION_INFO = _OPENSSL_API_VERSION = (3, 0, 0, 0, 0)
OPENSSL_VERSION_NUMBER = 0x30000000
_DEFAULT_CIPHERS = "DEFAULT"

PROTOCOL_SSLv23 = PROTOCOL_TLS = 2
PROTOCOL_TLS_CLIENT, PROTOCOL_TLS_SERVER = 16, 17
PROTO_MINIMUM_SUPPORTED, PROTO_MAXIMUM_SUPPORTED = -2, -1
PROTO_SSLv3, PROTO_TLSv1, PROTO_TLSv1_1, PROTO_TLSv1_2, PROTO_TLSv1_3 = 768, 769, 770, 771, 772
OP_ALL = 0x80000050
OP_NO_SSLv2, OP_NO_SSLv3, OP_NO_TLSv1, OP_NO_TLSv1_1 = 0, 0x2000000, 0x4000000, 0x10000000
OP_NO_TLSv1_2, OP_NO_TLSv1_3, OP_NO_COMPRESSION, OP_NO_TICKET = 0x8000000, 0x20000000, 0x20000, 0x4000
OP_CIPHER_SERVER_PREFERENCE, OP_SINGLE_DH_USE, OP_SINGLE_ECDH_USE = 0x400000, 0, 0
OP_NO_RENEGOTIATION, OP_IGNORE_UNEXPECTED_EOF, OP_ENABLE_MIDDLEBOX_COMPAT = 0x40000000, 0x80, 0x100000
OP_LEGACY_SERVER_CONNECT = 4
CERT_NONE, CERT_OPTIONAL, CERT_REQUIRED = 0, 1, 2
VERIFY_DEFAULT, VERIFY_CRL_CHECK_LEAF, VERIFY_CRL_CHECK_CHAIN = 0, 4, 12
VERIFY_X509_STRICT, VERIFY_X509_TRUSTED_FIRST, VERIFY_X509_PARTIAL_CHAIN = 0x20, 0x8000, 0x80000
VERIFY_ALLOW_PROXY_CERTS = 0x40
HOSTFLAG_NEVER_CHECK_SUBJECT = 0x20
ENCODING_PEM, ENCODING_DER = 1, 2
SSL_ERROR_SSL, SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE, SSL_ERROR_WANT_X509_LOOKUP = 1, 2, 3, 4
SSL_ERROR_SYSCALL, SSL_ERROR_ZERO_RETURN, SSL_ERROR_WANT_CONNECT, SSL_ERROR_EOF = 5, 6, 7, 8
SSL_ERROR_INVALID_ERROR_CODE = 10
ALERT_DESCRIPTION_CLOSE_NOTIFY, ALERT_DESCRIPTION_HANDSHAKE_FAILURE = 0, 40
ALERT_DESCRIPTION_BAD_CERTIFICATE, ALERT_DESCRIPTION_CERTIFICATE_EXPIRED = 42, 45
ALERT_DESCRIPTION_UNKNOWN_CA, ALERT_DESCRIPTION_PROTOCOL_VERSION, ALERT_DESCRIPTION_INTERNAL_ERROR = 48, 70, 80


class SSLError(OSError):
    """TLS failed."""

    library = reason = None

    def __str__(self):
        return str(self.strerror if self.strerror is not None else self.args)


class SSLZeroReturnError(SSLError):
    """The peer has ended TLS."""


class SSLWantReadError(SSLError):
    """More has to be read first."""


class SSLWantWriteError(SSLError):
    """More has to be written first."""


class SSLSyscallError(SSLError):
    """The connection failed below TLS."""


class SSLEOFError(SSLError):
    """The connection ended without an end of TLS."""


class SSLCertVerificationError(SSLError, ValueError):
    """The server's certificate is not trusted."""

    verify_code, verify_message = 1, ""


for _class in (SSLError, *SSLError.__subclasses__()):
    _class.__module__ = "ssl"


def exception(case, message):
    """The exception for an error of `eryx:net/tls` that is not one of TCP."""
    # The embedder tells of a certificate as of a failed handshake.
    if case == "certificate-error" or "certificate" in message:
        error = SSLCertVerificationError(SSL_ERROR_SSL, f"certificate verify failed: {message}")
        error.reason, error.verify_message = "CERTIFICATE_VERIFY_FAILED", message
        return error
    return SSLError(SSL_ERROR_SSL, message)


def _stored(name, default):
    """A property that keeps what it is given."""
    key = f"_kept_{name}"

    def write(self, value):
        self.__dict__[key] = value

    return property(lambda self: self.__dict__.get(key, default), write)


class _SSLContext:
    def __new__(cls, protocol):
        if protocol in (PROTOCOL_TLS_SERVER,):
            raise SSLError(SSL_ERROR_SSL, "the embedder offers the client's side of TLS only")
        self = super().__new__(cls)
        self.__dict__["_protocol"] = protocol
        client = protocol == PROTOCOL_TLS_CLIENT
        self.__dict__["_verification"] = (CERT_REQUIRED, True) if client else (CERT_NONE, False)
        return self

    protocol = property(lambda self: self._protocol)
    options = _stored("options", OP_ALL | OP_NO_SSLv3 | OP_NO_COMPRESSION | OP_ENABLE_MIDDLEBOX_COMPAT)
    verify_flags = _stored("verify_flags", VERIFY_X509_TRUSTED_FIRST)
    minimum_version = _stored("minimum_version", PROTO_TLSv1_2)
    maximum_version = _stored("maximum_version", PROTO_MAXIMUM_SUPPORTED)
    _host_flags = _stored("host_flags", 0)
    _msg_callback = _stored("msg_callback", None)
    sni_callback = _stored("sni_callback", None)
    keylog_filename = _stored("keylog_filename", None)
    post_handshake_auth = _stored("post_handshake_auth", False)
    num_tickets = _stored("num_tickets", 2)
    security_level = _stored("security_level", 2)

    @property
    def verify_mode(self):
        return self._verification[0]

    @verify_mode.setter
    def verify_mode(self, mode):
        if mode == CERT_NONE and self._verification[1]:
            raise ValueError("Cannot set verify_mode to CERT_NONE when check_hostname is enabled.")
        self.__dict__["_verification"] = int(mode), self._verification[1]

    @property
    def check_hostname(self):
        return self._verification[1]

    @check_hostname.setter
    def check_hostname(self, wanted):
        mode = self._verification[0]
        self.__dict__["_verification"] = (mode or CERT_REQUIRED if wanted else mode), bool(wanted)

    def set_ciphers(self, ciphers):
        """Has no effect: the embedder chooses."""

    def get_ciphers(self):
        return []

    def _set_alpn_protocols(self, protocols):
        """Has no effect: no protocol is negotiated, which servers take for HTTP/1.1."""

    def set_default_verify_paths(self):
        """Has no effect: the embedder knows whom it trusts."""

    def load_verify_locations(self, cafile=None, capath=None, cadata=None):
        """Has no effect, but that a file must be there."""
        if cafile is None and capath is None and cadata is None:
            raise TypeError("cafile, capath and cadata cannot be all omitted")
        if cafile is not None:
            os.stat(cafile)

    def load_cert_chain(self, certfile, keyfile=None, password=None):
        raise SSLError(SSL_ERROR_SSL, "the embedder shows no certificate of the client")

    def load_dh_params(self, path):
        """Has no effect: the embedder chooses."""

    def set_ecdh_curve(self, name):
        """Has no effect: the embedder chooses."""

    def cert_store_stats(self):
        return {"x509": 0, "crl": 0, "x509_ca": 0}

    def get_ca_certs(self, binary_form=False):
        return []

    def session_stats(self):
        return {}

    def _wrap_socket(self, sock, server_side, server_hostname=None, *, owner=None, session=None):
        if server_side:
            raise SSLError(SSL_ERROR_SSL, "the embedder offers the client's side of TLS only")
        return _SSLSocket(self, sock, server_hostname, owner)

    def _wrap_bio(self, *arguments, **more):
        raise SSLError(SSL_ERROR_SSL, "the embedder offers TLS over its own connections only")


class _SSLSocket:
    session_reused, server_side = False, False

    def __init__(self, context, sock, hostname, owner):
        self.context, self.server_hostname, self.owner, self.session = context, hostname, owner, None
        self._sock = sock

    def do_handshake(self):
        descriptor = _socket.descriptor(self._sock.fileno())
        if descriptor.layer == "tls":
            return
        host = self.server_hostname or (descriptor.peer or ("",))[0]
        descriptor.upgrade(host, self._sock.gettimeout() or None)

    def read(self, size=1024, buffer=None):
        if buffer is None:
            return _socket.socket.recv(self._sock, size)
        return _socket.socket.recv_into(self._sock, buffer, size)

    def write(self, data):
        return _socket.socket.send(self._sock, data)

    def shutdown(self):
        # What is below TLS cannot be had back, so that the connection ends with it.
        _socket.socket.shutdown(self._sock, _socket.SHUT_RDWR)
        return self._sock

    def pending(self):
        return 0

    def version(self):
        """Which one was negotiated is not known."""

    cipher = shared_ciphers = compression = selected_alpn_protocol = version

    def getpeercert(self, binary_form=False):
        """The certificate is the embedder's to see."""

    def get_verified_chain(self):
        return []

    get_unverified_chain = get_verified_chain

    def get_channel_binding(self, cb_type="tls-unique"):
        """Is not known."""

    def verify_client_post_handshake(self):
        raise SSLError(SSL_ERROR_SSL, "the embedder offers the client's side of TLS only")


class MemoryBIO:
    """TLS over memory, which there is not."""

    def __init__(self):
        raise SSLError(SSL_ERROR_SSL, "the embedder offers TLS over its own connections only")


class SSLSession:
    """A session to be resumed; there is never one."""


_OBJECTS = (
    (129, "serverAuth", "TLS Web Server Authentication", "1.3.6.1.5.5.7.3.1"),
    (130, "clientAuth", "TLS Web Client Authentication", "1.3.6.1.5.5.7.3.2"),
)


def txt2obj(txt, name=False):
    """The purposes that `ssl` names."""
    for found in _OBJECTS:
        if txt == found[3] or (name and txt in found[1:3]):
            return found
    raise ValueError(f"unknown object {txt!r}")


def nid2obj(nid):
    """The purposes that `ssl` names, by number."""
    for found in _OBJECTS:
        if nid == found[0]:
            return found
    raise ValueError(f"unknown NID {nid}")


def get_default_verify_paths():
    """Where others would look; there is nothing."""
    return "SSL_CERT_FILE", "/usr/lib/ssl/cert.pem", "SSL_CERT_DIR", "/usr/lib/ssl/certs"


RAND_bytes = os.urandom


def RAND_status():
    """Randomness never lacks."""
    return True


def RAND_add(string, entropy):
    """Has no effect: the embedder gives randomness."""
